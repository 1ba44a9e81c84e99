"""Heavy imports of the commands."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from fervid.processes.lifetime import check_terminated


@contextmanager
def importing() -> Iterator[None]:
    """Around a command's heavy imports: keeps the garbage collector from looking through them.

    They make half a million objects that stay. Looking for garbage among them takes a fifth of the time of importing
    torch and Lightning, and later 0.3 s at the end of every job.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # once a process: what belongs to a job must not stay
            gc.freeze()
            atexit.register(gc.unfreeze)  # libraries complain of what is left at the exit
        if collects:
            gc.enable()
    check_terminated()  # some libraries swallow what is raised while they are imported
