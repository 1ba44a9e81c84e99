"""Locks for processes that prepare a folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fervid.errors import InputError


def sign(lock: FileLock) -> None:
    """Writes the host name and the process id into the file of a lock that this process holds."""
    with suppress(OSError):
        Path(lock.lock_file).write_text(f"{socket.gethostname()} {os.getpid()}", encoding="utf-8")


def holder(lock: FileLock) -> str:
    """Returns the process id and host of the holder of a lock, in brackets; empty if unknown."""
    try:
        host, process = Path(lock.lock_file).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return ""
    return f" (process {process} on {host})"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lets only one process at a time prepare a folder; other processes print a message and wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _acquired(folder.with_name(f"{folder.name}.lock"), folder):
        yield


@contextmanager
def lock_parts(folder: Path) -> Iterator[None]:
    """Waits for the processes that prepare parts of a folder (:func:`lock_part`), and blocks new ones."""
    with ExitStack() as stack:
        for path in sorted(folder.parent.glob(f"{folder.name}.part-*.lock")):
            stack.enter_context(_acquired(path, folder))
        yield


@contextmanager
def lock_part(folder: Path, name: str) -> Iterator[None]:
    """Locks a part of a folder while it is prepared.

    Args:
        folder: folder whose other parts may be prepared by other processes.
        name: name of the part.

    Raises:
        InputError: if another process prepares this part or the whole folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = FileLock(folder.with_name(f"{folder.name}.part-{name}.lock"))
    whole = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        part.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another process prepares part {name} of {folder}{holder(part)}: wait for it.") from None
    try:
        sign(part)
        # A process that prepares the whole folder waits only for parts that were started before it.
        try:
            whole.acquire(timeout=2)  # seconds, since another part may hold the lock for the same check
        except Timeout:
            raise InputError(f"another process prepares all of {folder}{holder(whole)}: wait for it.") from None
        whole.release()
        yield
    finally:
        part.release()


@contextmanager
def _acquired(path: Path, folder: Path) -> Iterator[None]:
    file_lock = FileLock(path)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is preparing {folder}{holder(file_lock)}: waiting for it.", flush=True)
        file_lock.acquire()
    try:
        sign(file_lock)
        yield
    finally:
        file_lock.release()
