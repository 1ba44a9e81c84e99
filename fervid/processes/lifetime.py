"""How processes end: a command on SIGTERM, a worker when its parent is gone.

Nothing heavy is imported here: the workers of a preparation load it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

SIGTERM_EXIT = 128 + signal.SIGTERM  # what a shell reports of a process that SIGTERM ended
POLL_SECONDS = 0.5

_terminated = threading.Event()


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: the command ends as it does on Ctrl-C."""


def terminated() -> bool:
    """Whether the running command has received SIGTERM."""
    return _terminated.is_set()


def check_terminated() -> None:
    """Raises :class:`Terminated` once SIGTERM was received: a library may have swallowed the first one."""
    if terminated():
        raise Terminated


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Ends a command on SIGTERM as on Ctrl-C, but with exit code 143, however its work ends.

    Raises:
        SystemExit: with code 143 if SIGTERM was received.
    """
    _terminated.clear()
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if in_main_thread else None
    try:
        try:
            yield
        except SystemExit:
            if not terminated():
                raise
        if terminated():
            sys.exit(SIGTERM_EXIT)
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _terminated.set()
    raise Terminated


def end_with_parent(parent: int, worker: int = 0, *, grace: float = 0.0, message: str = "") -> None:
    """Ends this process soon after its parent, however that ended; watches from a thread.

    Without it, a worker whose parent was killed waits for minutes for a task that never comes.

    Args:
        parent: process id of the parent, as the parent itself knows it. Its own id does nothing: the work is done
            in the main process.
        worker: number of a DataLoader's worker, which is of no matter.
        grace: seconds that this process gets to notice by itself.
        message: what to print in that case.
    """
    if parent == os.getpid() or any(thread.name == f"end with {parent}" for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        time.sleep(grace)
        exit_now(message)

    threading.Thread(target=watch, name=f"end with {parent}", daemon=True).start()


def for_workers(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for the workers of a pool, which then end when this process does."""
    return partial(_work_for, os.getpid(), function)


def _work_for(parent: int, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    end_with_parent(parent)
    return function(*args, **options)


def exit_now(message: str = "") -> None:
    """Ends this process with exit code 1, even where its main thread is blocked."""
    if message:
        with suppress(OSError):
            os.write(2, f"{message}\n".encode(errors="replace"))
    os._exit(1)
