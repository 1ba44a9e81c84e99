"""Memory-mapped files for large arrays."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np

from fervid.errors import InputError


def allocate(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """Creates a memory-mapped ``.npy`` file and reserves its disk space.

    Without the reservation, a disk that becomes full would kill the process at a later write.

    Args:
        path: path of the file.
        dtype: data type of the array.
        shape: shape of the array.

    Raises:
        InputError: if the disk has too little free space, or the folder cannot be written.
    """
    try:
        # Checked first: where a file system cannot reserve space, posix_fallocate writes zeros until the disk is full.
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
