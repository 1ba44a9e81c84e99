"""Termination of processes: commands on SIGTERM, and workers when their parent has ended.

This module must not import large libraries, since the workers that prepare a corpus import it.
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

SIGTERM_EXIT = 128 + signal.SIGTERM  # the exit code that a shell reports for a process ended by SIGTERM
POLL_SECONDS = 0.5

_terminated = threading.Event()


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, so that a command ends in the same way as on Ctrl-C."""


def terminated() -> bool:
    """Whether the running command has received SIGTERM."""
    return _terminated.is_set()


def check_terminated() -> None:
    """Raises :class:`Terminated` if SIGTERM has been received, since a library may have caught the first exception."""
    if terminated():
        raise Terminated


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Ends a command on SIGTERM in the same way as on Ctrl-C, but always with exit code 143.

    Raises:
        SystemExit: with code 143 if SIGTERM was received.
    """
    _terminated.clear()
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _interrupt) if in_main_thread else None
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
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _terminated.set()
    raise Terminated


def end_with_parent(parent: int, worker: int = 0, *, grace: float = 0.0, message: str = "") -> None:
    """Starts a thread that ends this process soon after its parent has ended for any reason.

    Otherwise a worker whose parent was killed would wait for minutes for tasks that never arrive.

    Args:
        parent: process id of the parent, read in the parent. If it is the id of this process, which then does the work
            itself, nothing happens.
        worker: number of the DataLoader worker; ignored.
        grace: seconds to wait for this process to end by itself.
        message: message to print when the process is ended.
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
    """Wraps a function for the workers of a pool, so that they end when this process does."""
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
