"""Memory that a process keeps for its next step."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_memory() -> None:
    """Lets this process keep the memory that it frees; where the C library is not glibc it does nothing.

    By itself glibc asks the system for every large buffer and gives it back after use: a network's step on the CPU then
    spends up to a third of its time on pages that it has just given away. What is kept is about what the largest step
    needed: for programs that train or look at films and end, not for those that stay.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
