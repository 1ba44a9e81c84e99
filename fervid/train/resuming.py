"""Resuming interrupted runs: finding and checking the last checkpoint, and printing the command that resumes a run.

Jobs of a sweep resume automatically when the sweep is started again (``train(..., resume=True)``). Finished jobs are
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
    """Returns the path of a run's last checkpoint."""
    return folder / "checkpoints" / "last.ckpt"


def unfinished_checkpoint(folder: Path, identity: RunIdentity) -> Path | None:
    """Returns the last checkpoint of an unfinished run, and removes the checkpoints and logs of any other run.

    Args:
        folder: run folder.
        identity: identity of the current run, including its fingerprint.

    Returns:
        Path to the checkpoint; None if the folder has no checkpoint that this run can resume.

    Raises:
        InputError: if the checkpoint exists but the file system does not allow reading it. Nothing is removed.
    """
    last = last_checkpoint(folder)
    if last.exists():
        try:
            with open(last, "rb") as file:  # a missing drive or permission must not count as a different run
                file.read(1)
            stored = RunIdentity(**read_checkpoint(last)["run"])
            if identity.is_same(stored):
                log.info("resuming job %s.", folder.name)
                return last
            log.warning("%s belongs to another run: the job starts again.", last)
        except OSError as error:
            raise InputError(
                f"{last} cannot be read ({error.strerror}): try again, or choose another folder."
            ) from error
        except (InputError, KeyError, TypeError) as error:  # damaged, or written by another version
            log.warning("%s cannot be resumed (%s): the job starts again.", last, first_line(error))
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return None


def checked_checkpoint(path: str | Path, model: Task, identity: RunIdentity) -> str:
    """Checks that training can resume from a checkpoint; warns if its run had different settings.

    Args:
        path: path to the checkpoint.
        model: model that will load its weights.
        identity: identity of the current run, including its fingerprint.

    Returns:
        The path with ``~`` expanded.

    Raises:
        InputError: if the checkpoint cannot be read, contains only weights, or belongs to another network or other
            data.
    """
    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise InputError(f"ckpt_path={path} is not a file: give the last.ckpt of a run.")
    try:
        state = read_checkpoint(Path(path))
    except InputError as error:
        raise InputError(f"ckpt_path={path} cannot be read: {error}.") from error
    if not isinstance(state, dict) or "optimizer_states" not in state:
        raise InputError(f"ckpt_path={path} contains only weights and cannot be resumed: give the last.ckpt of a run.")
    stored_shapes, shapes = (
        {name: value.shape for name, value in s.items()} for s in (state["state_dict"], model.state_dict())
    )
    if stored_shapes != shapes:
        raise InputError(f"ckpt_path={path} belongs to another network or other emotions: use the settings of its run.")
    try:
        stored = RunIdentity(**state["run"])
    except (KeyError, TypeError):
        raise InputError(
            f"ckpt_path={path} does not record which data it was trained on: give the last.ckpt of a run."
        ) from None
    changed = ", ".join(identity.changed_settings(stored))
    if identity.fingerprint != stored.fingerprint:
        raise InputError(
            f"ckpt_path={path} was trained on other data or another split{f' ({changed})' if changed else ''}, so the "
            "test subset may contain its training frames: use the dataset and split of its run."
        )
    if changed:
        log.warning("ckpt_path=%s is from a run with different settings: %s.", path, changed)
    return path


def resume_command(folder: Path, overrides: Sequence[str]) -> str:
    """Returns the command that resumes a run from its last checkpoint.

    Args:
        folder: run folder.
        overrides: overrides given on the run's command line.
    """
    words = own_config_folder() + [word for word in overrides if not word.startswith("ckpt_path=")]
    return printed_command("fervid.train", words, {"hydra.run.dir": folder, "ckpt_path": last_checkpoint(folder)})


def next_step(folder: Path, overrides: Sequence[str]) -> Callable[[], str]:
    """Returns a function that, when called, returns the next step after an interrupted run: resume or start again."""

    def step() -> str:
        if last_checkpoint(folder).exists():
            return f"resume with {resume_command(folder, overrides)}"
        return "run the same command again."

    return step


def print_how_to_resume(folder: Path, overrides: Sequence[str]) -> None:
    """Prints how many finished epochs an interrupted run has saved, and the command that resumes it."""
    last = last_checkpoint(folder)
    if not last.exists():
        log.warning("interrupted before the first epoch was finished: run the same command again.")
        return
    try:
        saved = f"{read_checkpoint(last)['epoch'] + 1} finished epochs are saved; "
    except (InputError, KeyError, TypeError):
        saved = ""
    log.warning("interrupted: %sresume with", saved)
    if log.isEnabledFor(logging.WARNING):
        print(resume_command(folder, overrides))  # the logger would break the line
