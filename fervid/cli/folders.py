"""The folders that commands read and write."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import ListConfig

from fervid.errors import InputError
from fervid.schema.results import RESULTS_FILE
from fervid.storage.locks import holder, sign


def empty_folder(folder: Path) -> Path:
    """Checks that the output folder created by Hydra is empty, and returns it.

    Raises:
        InputError: if the folder contains files.
    """
    if any(folder.iterdir()):
        raise InputError(f"{folder} already contains files: choose another hydra.run.dir, or remove it.")
    return folder


def one_run(run: Any) -> Path:
    """Returns the folder of ``run=`` for a command that uses exactly one run.

    Raises:
        InputError: if no run or several runs are given, or the folder contains no finished run.
    """
    if run is None:
        raise InputError("run is missing: give run=<folder of a finished run>.")
    if isinstance(run, ListConfig):
        raise InputError(f"run={run} is a list: give one folder; only fervid.evaluate accepts several runs.")
    return run_folder(run)


def run_folder(run: Any) -> Path:
    """Returns the folder of a finished run; does not open the run, which would take seconds.

    Raises:
        InputError: if the folder contains no finished run.
    """
    folder = Path(str(run)).expanduser()  # the command line parses run=3 as a number
    if not folder.is_dir():
        raise InputError(f"run={run} is not a folder: give the folder of a finished run.")
    if not (folder / RESULTS_FILE).exists():
        raise InputError(f"run={run} contains no finished run: it has no {RESULTS_FILE}.")
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks a folder, so that only one process at a time can work in it.

    Raises:
        InputError: if another process has locked the folder.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another process is using {folder}{holder(lock)}: wait for it to end, or choose another folder."
        ) from None
    try:
        sign(lock)
        yield
    finally:
        # Removed while the lock is held: a process that opened the file before notices that it was deleted and does not
        # lock it (older versions of filelock do), and release() cannot remove the file of the next process.
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def remove_if_empty(folder: Path) -> None:
    """Removes the output folder created by Hydra if the command wrote nothing."""
    with suppress(OSError):  # the folder is not empty or may not be removed
        if folder.resolve() != Path.cwd():
            folder.rmdir()
