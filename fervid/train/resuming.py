"""How an interrupted run is resumed: its last checkpoint, and the command to type.

A job of a sweep is resumed by itself when the sweep is started again (``train(..., resume=True)``); a finished one is
skipped (:mod:`fervid.runs.finished`).
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from fervid.cli.overrides import own_config_folder, printed_command
from fervid.errors import InputError, first_line
from fervid.models.weight_files import read_checkpoint
from fervid.schema.same_system import RunIdentity
from fervid.tasks.task import Task

log = logging.getLogger(__name__)


def last_checkpoint(folder: Path) -> Path:
    """Where a run keeps its last checkpoint."""
    return folder / "checkpoints" / "last.ckpt"


def unfinished_checkpoint(folder: Path, identity: RunIdentity) -> Path | None:
    """The last checkpoint of the same run that was not finished; removes those of another one.

    Args:
        folder: of the run.
        identity: of the run that is to be there, with its fingerprint.

    Raises:
        InputError: if a checkpoint is there that cannot be read for now; nothing is removed.
    """
    last = last_checkpoint(folder)
    if last.exists():
        try:
            with open(last, "rb") as file:  # a drive that is away, or a file without rights, is no other run
                file.read(1)
            there = RunIdentity(**read_checkpoint(last)["run"])
            if identity.is_same(there):
                log.info("resuming job %s.", folder.name)
                return last
            log.warning("%s is of another run: the job starts again.", last)
        except OSError as error:
            raise InputError(
                f"{last} cannot be read ({error.strerror}): try again, or choose another folder."
            ) from error
        except (InputError, KeyError, TypeError) as error:  # damaged, or of another version
            log.warning("%s cannot be resumed (%s): the job starts again.", last, first_line(error))
    for left in ("checkpoints", "tensorboard"):
        shutil.rmtree(folder / left, ignore_errors=True)
    return None


def checked_checkpoint(path: str | Path, model: Task, identity: RunIdentity) -> str:
    """A checkpoint that training can be resumed from; warns if its run had other settings.

    Args:
        path: of the checkpoint.
        model: that is to take its weights.
        identity: of the run at hand, with its fingerprint.

    Raises:
        InputError: if it cannot be read, has weights only, or is of another network or other data.
    """
    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise InputError(f"ckpt_path={path} is not a file: give the last.ckpt of a run.")
    try:
        state = read_checkpoint(Path(path))
    except InputError as error:
        raise InputError(f"ckpt_path={path} cannot be read: {error}.") from error
    if not isinstance(state, dict) or "optimizer_states" not in state:
        raise InputError(f"ckpt_path={path} has weights only and cannot be resumed: give the last.ckpt of a run.")
    shapes, own = ({name: value.shape for name, value in s.items()} for s in (state["state_dict"], model.state_dict()))
    if shapes != own:
        raise InputError(
            f"ckpt_path={path} is of another network or other emotions: give the settings of its run again."
        )
    try:
        there = RunIdentity(**state["run"])
    except (KeyError, TypeError):
        raise InputError(f"ckpt_path={path} does not say which data it learned: give the last.ckpt of a run.") from None
    changed = ", ".join(identity.changed_settings(there))
    if identity.fingerprint != there.fingerprint:
        raise InputError(
            f"ckpt_path={path} learned other data or another split{f' ({changed})' if changed else ''}: the scores "
            "would be of frames that it was trained on; give the dataset and split of its run again."
        )
    if changed:
        log.warning("ckpt_path=%s is of a run with other settings: %s.", path, changed)
    return path


def resume_command(folder: Path, overrides: Sequence[str]) -> str:
    """The command that resumes a run from its last checkpoint.

    Args:
        folder: of the run.
        overrides: the words of its command line.
    """
    words = own_config_folder() + [word for word in overrides if not word.startswith("ckpt_path=")]
    return printed_command("fervid.train", words, {"hydra.run.dir": folder, "ckpt_path": last_checkpoint(folder)})


def next_step(folder: Path, overrides: Sequence[str]) -> Callable[[], str]:
    """Says, when it is called, what to do about a run that failed for no fault of its own."""

    def say() -> str:
        if last_checkpoint(folder).exists():
            return f"resume with {resume_command(folder, overrides)}"
        return "run the same command again."

    return say


def print_how_to_resume(folder: Path, overrides: Sequence[str]) -> None:
    """After a single run was interrupted: how many epochs are kept, and the command that resumes it."""
    last = last_checkpoint(folder)
    if not last.exists():
        log.warning("interrupted before the first epoch was finished: run the same command again.")
        return
    try:
        kept = f"{read_checkpoint(last)['epoch'] + 1} finished epochs are kept: "
    except (InputError, KeyError, TypeError):
        kept = ""
    log.warning("interrupted; %sresume with", kept)
    if log.isEnabledFor(logging.WARNING):
        print(resume_command(folder, overrides))  # not through the logger, which breaks lines
