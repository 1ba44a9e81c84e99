"""Large arrays in memory-mapped files."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np

from fervid.errors import InputError


def allocate(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """Makes a memory-mapped ``.npy`` file and takes its room on the disk at once.

    Without that a disk that fills up kills the process at some later write.

    Args:
        path: the file to write.
        dtype: of the array.
        shape: of the array.

    Raises:
        InputError: if the disk has no room for it, or the folder cannot be written.
    """
    try:
        # Where the file system takes no room in advance the system writes zeros instead, until nobody has any left.
        if np.prod(shape, dtype=float) * np.dtype(dtype).itemsize > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, array.nbytes + array.offset)
    except OSError as error:
        path.unlink(missing_ok=True)
        need = np.prod(shape, dtype=float) * np.dtype(dtype).itemsize / 2**20
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(
                f"{path.parent} has no room for {need:.0f} MiB: make room, or set cache_dir to another disk."
            ) from error
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}): set cache_dir to another folder."
        ) from error
    return array
