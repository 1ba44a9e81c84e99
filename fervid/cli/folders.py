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
    """The folder that Hydra made for what a command leaves.

    Raises:
        InputError: if something lies in it already.
    """
    if any(folder.iterdir()):
        raise InputError(f"{folder} already holds files: choose another hydra.run.dir, or remove it.")
    return folder


def one_run(run: Any) -> Path:
    """The folder of ``run=`` where one is wanted.

    Raises:
        InputError: if none was given, or several, or there is no finished run.
    """
    if run is None:
        raise InputError("which run? Give run=<folder of a finished run>.")
    if isinstance(run, ListConfig):
        raise InputError(f"run={run} are several: give one folder; ensembles are for fervid.evaluate.")
    return run_folder(run)


def run_folder(run: Any) -> Path:
    """The folder of a finished run that ``run=`` names; it is not opened, which takes seconds.

    Raises:
        InputError: if there is no finished run.
    """
    folder = Path(str(run)).expanduser()  # the command line makes run=3 a number
    if not folder.is_dir():
        raise InputError(f"run={run} is not a folder: give that of a finished run.")
    if not (folder / RESULTS_FILE).exists():
        raise InputError(f"run={run} holds no finished run: it has no {RESULTS_FILE}.")
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Around work that one process at a time may do in a folder.

    Raises:
        InputError: if another process is at it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another process is at work in {folder}{holder(lock)}: wait for it, or choose another folder."
        ) from None
    try:
        sign(lock)
        yield
    finally:
        # While it is held: whoever opened the file before sees that it has no name any more and does not take it (older
        # versions of filelock do), and release() removes no file, which could be that of the next process.
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def remove_if_empty(folder: Path) -> None:
    """Removes the folder that Hydra made for a command that left nothing."""
    with suppress(OSError):  # it holds something, or is the user's own
        if folder.resolve() != Path.cwd():
            folder.rmdir()
