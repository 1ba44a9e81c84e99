"""Converts errors of Hydra, OmegaConf and the operating system to one-sentence messages for the user."""

import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from fervid.cli.overrides import how_to_quote
from fervid.errors import InputError, first_line

_typed: dict[str, str] = {}  # word passed to Hydra -> word as the user typed it


def remember_typed(words: Sequence[str], typed: Sequence[str]) -> None:
    """Stores the words as the user typed them, to quote them in error messages.

    Args:
        words: the words passed to Hydra.
        typed: the same words as they were typed.
    """
    _typed.clear()
    _typed.update(zip(words, typed, strict=True))


def mistake(error: Exception, folder: Path) -> Exception:
    """Converts an error caused by a mistake of the user to an :class:`InputError`; returns any other error unchanged.

    Args:
        error: the error of a command.
        folder: the output folder of the command.
    """
    if isinstance(error, OmegaConfBaseException) and (sentence := misread_word(error)):
        return InputError(sentence)
    if isinstance(error, HydraException) and isinstance(error.__cause__, InputError):
        if "full_key: identity.backbone" not in str(error):
            return error.__cause__  # instantiate wraps the original error
        # A backbone does not know that it is part of the identity search, which cannot use random weights.
        sentence = re.sub(r"; backbone\.weights=null[^.;]*", "", str(error.__cause__))
        return InputError(re.sub(r"(?<![\w.])backbone\.", "identity.backbone.", sentence))
    if isinstance(error, InstantiationException):
        key = next((line.split(":")[1].strip() for line in str(error).splitlines() if line.startswith("full_key")), "")
        cause = error.__cause__ or error
        if isinstance(cause, ImportError):  # of Hydra, whose first line does not contain the reason
            cause = cause.__cause__ or cause
        reason = first_line(cause)
        return InputError(f"the settings of {key or 'a part of the run'} cannot be used: {reason}.")
    if isinstance(error, OSError):
        return mistake_of_system(error, folder)
    torch = sys.modules.get("torch")  # most mistakes are found before torch is loaded
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return InputError(
            f"{first_line(error).split('. GPU')[0]}: use a smaller dataset.batch_size or backbone.image_size for "
            "training, and device=cpu for the other commands."
        )
    return error


def mistake_of_system(error: OSError, folder: str | Path) -> Exception:
    """Converts an error of the disk or the operating system to an :class:`InputError`; others are unchanged."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(
            f"the disk of {folder} is full: free disk space and run the command again (fervid.train: with ckpt_path)."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        reason = os.strerror(error.errno).lower()
        return InputError(
            f"a limit of the operating system is reached ({reason}): use fewer dataset.num_workers, or raise the limit."
        )
    # Excludes BrokenPipeError, ConnectionError and the like, which have no file name.
    if error.filename is not None and error.errno is not None:
        return InputError(f"{error.filename} cannot be written or read: {os.strerror(error.errno).lower()}.")
    return error


def misread_word(error: BaseException) -> str | None:
    """Describes the word that Hydra could not parse as one value; None if the error is of another kind."""
    return how_to_quote(error, _typed)


def combined_options(error: BaseException) -> str | None:
    """Explains Hydra's error on options that exclude each other; None if the error is of another kind."""
    if not isinstance(error, ValueError) or not str(error).startswith("Only one of --run, --multirun, --cfg"):
        return None
    return (
        "only one of --run, --multirun, --cfg, --info and --shell-completion can be used: to print the configuration "
        "of one job of a sweep, leave out --multirun and give one value per setting."
    )


def hydra_message(error: BaseException) -> str:
    """Returns Hydra's error message in one line, without its advice for programmers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    advice = (
        "object_type",
        "reference_type",
        "To append",
        "full_key",
        "Config search path",
        "provider=",
        "Set the env",
    )
    return " ".join(line for line in lines if not line.startswith(advice)) or type(error).__name__


def stop(sentence: str) -> NoReturn:
    """Prints a sentence to stderr and exits with code 1."""
    print(f"fervid: {sentence}", file=sys.stderr)
    sys.exit(1)
