"""Memory-mapped files for large arrays."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fervid.errors import InputError
from fervid.storage.atomic import writing


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
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise no_room(path.parent, np.prod(shape, dtype=float) * np.dtype(dtype).itemsize) from error
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}): set cache_dir to another folder."
        ) from error
    return array


class SparseRows:
    """A float32 ``.npy`` file of shape (N, ...) whose rows are written one after the other, also by several processes.

    A second file with the ending ``.rows`` records which rows are complete. Rows that were never written take no disk
    space. Whoever writes must hold a lock; reading needs none.

    Args:
        path: path of the ``.npy`` file.
        shape: shape of the array.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path, self.shape = path, shape
        self._record = path.with_suffix(".rows")

    def _written(self) -> np.ndarray:
        """Returns whether each row is complete, bool (N,)."""
        written = np.zeros(self.shape[0], dtype=bool)
        if self.path.exists() and self._record.exists():
            written[np.fromfile(self._record, dtype=np.int64)] = True
        return written

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Returns those of some sorted rows that are not complete."""
        return rows[~self._written()[rows]]

    @contextmanager
    def filling(self, rows: np.ndarray) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
        """Yields a function ``write(rows, values)``, which ignores all but the given rows.

        The rows are complete once the block ends without an error.

        Args:
            rows: rows that will be written.

        Raises:
            InputError: if the disk has too little free space.
            OSError: if the files cannot be written.
        """
        width = 4 * int(np.prod(self.shape[1:]))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if width * len(rows) > shutil.disk_usage(self.path.parent).free:
            raise no_room(self.path.parent, width * len(rows))
        if not self.path.exists():
            self._record.unlink(missing_ok=True)
            with writing(self.path) as partial:
                np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=self.shape).flush()
        offset = np.load(self.path, mmap_mode="r").offset
        # Not through a memory map, since a disk that becomes full would then kill the process.
        with open(self.path, "r+b") as file:

            def write(chosen: np.ndarray, values: np.ndarray) -> None:
                for row, value in zip(chosen.tolist(), np.ascontiguousarray(values, np.float32), strict=True):
                    if row in wanted:
                        file.seek(offset + row * width)
                        file.write(value.tobytes())

            wanted = set(rows.tolist())
            yield write
            file.flush()
            os.fsync(file.fileno())
        complete = self._written()
        complete[rows] = True
        with writing(self._record) as partial:
            np.flatnonzero(complete).astype(np.int64).tofile(partial)

    def open(self) -> np.memmap:
        """Returns the array as a read-only memory map."""
        return np.load(self.path, mmap_mode="r")


def no_room(folder: Path, count: float | None = None) -> InputError:
    """Returns the error for a disk without room for a number of bytes, which may be unknown."""
    needed = "" if count is None else f" for {count / 2**20:.0f} MiB"
    return InputError(f"{folder} has no room{needed}: make room, or set cache_dir to another disk.")
