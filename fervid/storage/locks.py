"""Locks between processes that prepare a folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fervid.errors import InputError


def sign(lock: FileLock) -> None:
    """Writes into a lock that this process holds which process of which machine it is."""
    with suppress(OSError):
        Path(lock.lock_file).write_text(f"{socket.gethostname()} {os.getpid()}", encoding="utf-8")


def holder(lock: FileLock) -> str:
    """Which process of which machine holds a lock, in brackets; empty if that is not known."""
    try:
        host, process = Path(lock.lock_file).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return ""
    return f" (process {process} on {host})"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keeps two processes from preparing the same folder at once: the second waits for the first, and says so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _waited_for(folder.with_name(f"{folder.name}.lock"), folder):
        yield


@contextmanager
def lock_parts(folder: Path) -> Iterator[None]:
    """Waits for the processes that prepare parts of a folder (:func:`lock_part`) and keeps new ones away."""
    with ExitStack() as stack:
        for path in sorted(folder.parent.glob(f"{folder.name}.part-*.lock")):
            stack.enter_context(_waited_for(path, folder))
        yield


@contextmanager
def lock_part(folder: Path, name: str) -> Iterator[None]:
    """Around the work on a part of a folder.

    Args:
        folder: whose parts other processes may be at.
        name: of the part.

    Raises:
        InputError: if another process is at this part, or at the whole folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    own = FileLock(folder.with_name(f"{folder.name}.part-{name}.lock"))
    whole = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        own.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another process prepares part {name} of {folder}{holder(own)}: wait for it.") from None
    try:
        sign(own)
        # A process that prepares the whole folder waits for the parts that had begun before it, and for no others.
        try:
            whole.acquire(timeout=2)  # seconds: another part may be asking the same
        except Timeout:
            raise InputError(f"another process prepares all of {folder}{holder(whole)}: wait for it.") from None
        whole.release()
        yield
    finally:
        own.release()


@contextmanager
def _waited_for(path: Path, folder: Path) -> Iterator[None]:
    waiting = FileLock(path)
    try:
        waiting.acquire(timeout=0)
    except Timeout:
        print(f"another process is preparing {folder}{holder(waiting)}: waiting for it.", flush=True)
        waiting.acquire()
    try:
        sign(waiting)
        yield
    finally:
        waiting.release()
