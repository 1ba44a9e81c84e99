"""Faces at the training size in one memory-mapped file, so that RAM does not grow with the corpus."""

import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from fervid.audit.duplicates import BITS, hash_picture
from fervid.schema.atomic import writing
from fervid.schema.errors import InputError

BLOCK = 64  # rows a thread writes at a time, at most: all that wait in line lie in memory


class FaceStore:
    """N square pictures, uint8 (N, size, size, 3) RGB, read from disk as they are asked for.

    Args:
        path: the ``.npy`` file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._faces: np.memmap | None = None

    @property
    def faces(self) -> np.memmap:
        """The memory map itself, opened when it is first asked for."""
        if self._faces is None:
            self._faces = np.load(self.path, mmap_mode="r")
        return self._faces

    def __getitem__(self, rows: np.ndarray | int) -> np.ndarray:
        """Copies out rows: an array of B row numbers gives (B, size, size, 3), one number (size, size, 3)."""
        return np.asarray(self.faces[rows])

    def __getstate__(self) -> dict:
        # A memory map pickles as the whole array: workers open their own.
        return {"path": self.path, "_faces": None}


def resize(picture: np.ndarray, size: int, *, grey: bool) -> np.ndarray:
    """Makes a face what the network sees.

    Args:
        picture: uint8 (side, side, 3) RGB of any size.
        size: side wanted, in pixels.
        grey: luminance in all three channels.

    Returns:
        uint8 (size, size, 3) RGB.
    """
    method = cv2.INTER_AREA if len(picture) > size else cv2.INTER_LINEAR
    face = cv2.resize(picture, (size, size), interpolation=method)
    return cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) if grey else face


def build_store(
    path: Path, count: int, read: Callable[[int], np.ndarray], *, size: int, grey: bool, description: str
) -> None:
    """Writes a store and the perceptual hashes of its faces; the file appears under its name only when all is there.

    Args:
        path: the ``.npy`` file to write; the hashes, uint8 (N, 32), go to ``<stem>.hashes.npy``.
        count: number of rows N.
        read: gives row i as uint8 (side, side, 3) RGB of any size.
        size: side of the stored pictures in pixels.
        grey: store luminance in all three channels.
        description: what to show beside the progress bar.

    Raises:
        InputError: if the disk has no room for the store, or cannot be written.
    """
    hashes = np.empty((count, BITS // 8), dtype=np.uint8)

    block = min(BLOCK, count // 32 + 1)  # a small corpus is shared out over all cores, too

    def write(start: int) -> None:
        for row in range(start, min(start + block, count)):
            picture = read(row)
            hashes[row] = hash_picture(picture)  # before it is made small
            faces[row] = resize(picture, size, grey=grey)

    starts = range(0, count, block)
    with writing(path) as unfinished:
        faces = allocate(unfinished, np.uint8, (count, size, size, 3))
        with ThreadPoolExecutor() as pool:
            for _ in track(pool.map(write, starts), description, total=len(starts), transient=True):
                pass
        faces.flush()
        with writing(path.with_suffix(".hashes.npy")) as beside:  # first: they belong to any store that is seen
            np.save(beside, hashes)


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
