"""Locks between processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keeps two runs from preparing the same folder at once: the second waits for the first, and says so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    waiting = FileLock(folder.with_suffix(".lock"))
    try:
        waiting.acquire(timeout=0)
    except Timeout:
        print(f"another run is preparing {folder}: waiting for it.", flush=True)
        waiting.acquire()
    try:
        yield
    finally:
        waiting.release()
