"""Speeds up the heavy imports of the commands."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from fervid.processes.lifetime import check_terminated


@contextmanager
def importing() -> Iterator[None]:
    """Disables garbage collection during the heavy imports of a command.

    They create half a million permanent objects. Searching them for garbage takes a fifth of the import time of torch
    and Lightning, and later 0.3 s at the end of every job.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # once per process: the objects of a job must not become permanent
            gc.freeze()
            atexit.register(gc.unfreeze)  # otherwise libraries warn about remaining objects at exit
        if collects:
            gc.enable()
    check_terminated()  # some libraries suppress exceptions raised during their import
