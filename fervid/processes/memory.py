"""Memory allocation of training processes."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_memory() -> None:
    """Makes glibc keep freed memory in the process; does nothing with other C libraries.

    By default glibc requests every large buffer from the system and returns it after use. A training step on the CPU
    then spends up to a third of its time on pages that it has just released. The memory kept is about as much as the
    largest step needed. Use this in programs that train or process videos and then end, not in long-running ones.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
