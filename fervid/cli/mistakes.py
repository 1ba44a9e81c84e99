"""Errors of Hydra, OmegaConf and the system as mistakes of the user, in one sentence each."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from fervid.cli.overrides import how_to_quote
from fervid.errors import InputError, first_line

_typed: dict[str, str] = {}  # what the user typed, for each word that Hydra is given


def remember_typed(words: Sequence[str], typed: Sequence[str]) -> None:
    """Keeps what the user typed, to quote it in a sentence.

    Args:
        words: that Hydra is given.
        typed: the same as they were typed.
    """
    _typed.clear()
    _typed.update(zip(words, typed, strict=True))


def mistake(error: Exception, folder: Path) -> Exception:
    """The user's mistake behind an error, an :class:`InputError`, if there is one; else the error itself.

    Args:
        error: of a command's work.
        folder: that it writes to.
    """
    if isinstance(error, OmegaConfBaseException) and (sentence := misread_word(error)):
        return InputError(sentence)
    if isinstance(error, HydraException) and isinstance(error.__cause__, InputError):
        return error.__cause__  # instantiate wraps what it meets
    if isinstance(error, InstantiationException):
        key = next((line.split(":")[1].strip() for line in str(error).splitlines() if line.startswith("full_key")), "")
        reason = first_line(error.__cause__ or error)
        return InputError(f"the settings of {key or 'a part of the run'} cannot be used: {reason}.")
    if isinstance(error, OSError):
        return mistake_of_system(error, folder)
    return error


def mistake_of_system(error: OSError, folder: str | Path) -> Exception:
    """What the disk or the system refused, as a mistake of the user; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(f"the disk of {folder} is full: make room and run it again (a training: with ckpt_path).")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        reason = os.strerror(error.errno).lower()
        return InputError(f"the system gives no more ({reason}): use fewer dataset.num_workers, or raise its limits.")
    # No BrokenPipeError, ConnectionError and the like, which name no file.
    if error.filename is not None and error.errno is not None:
        return InputError(f"{error.filename} cannot be written or read: {os.strerror(error.errno).lower()}.")
    return error


def misread_word(error: BaseException) -> str | None:
    """A sentence on the typed word that Hydra could not read as one value; None if the error is of another kind."""
    return how_to_quote(error, _typed)


def what_hydra_says(error: BaseException) -> str:
    """Hydra's complaint in one line, without its advice for programmers."""
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
    """Ends the program with a sentence and exit code 1."""
    print(f"fervid: {sentence}", file=sys.stderr)
    sys.exit(1)
