"""Faces at the training size in one memory-mapped file, so that RAM does not grow with the corpus."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from fervid.audit.duplicates import BITS, hash_picture
from fervid.storage.array_files import allocate
from fervid.storage.atomic import writing

BLOCK = 64  # rows a thread writes at a time, at most: all that wait in line lie in memory


class FaceCache:
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


def resize(picture: np.ndarray, size: int, *, grayscale: bool) -> np.ndarray:
    """Makes a face what the network sees.

    Args:
        picture: uint8 (side, side, 3) RGB of any size.
        size: side wanted, in pixels.
        grayscale: luminance in all three channels.

    Returns:
        uint8 (size, size, 3) RGB.
    """
    method = cv2.INTER_AREA if len(picture) > size else cv2.INTER_LINEAR
    face = cv2.resize(picture, (size, size), interpolation=method)
    return cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) if grayscale else face


def build_face_cache(
    path: Path, count: int, read: Callable[[int], np.ndarray], *, size: int, grayscale: bool, description: str
) -> None:
    """Writes a face cache and the perceptual hashes of its faces, atomically.

    Args:
        path: the ``.npy`` file to write; the hashes, uint8 (N, 32), go to ``<stem>.hashes.npy``.
        count: number of rows N.
        read: gives row i as uint8 (side, side, 3) RGB of any size.
        size: side of the stored pictures in pixels.
        grayscale: store luminance in all three channels.
        description: what to show beside the progress bar.

    Raises:
        InputError: if the disk has no room for the face cache, or cannot be written.
    """
    hashes = np.empty((count, BITS // 8), dtype=np.uint8)

    block = min(BLOCK, count // 32 + 1)  # a small corpus is shared out over all cores, too

    def write(start: int) -> None:
        for row in range(start, min(start + block, count)):
            picture = read(row)
            hashes[row] = hash_picture(picture)  # before it is made small
            faces[row] = resize(picture, size, grayscale=grayscale)

    starts = range(0, count, block)
    with writing(path) as unfinished:
        faces = allocate(unfinished, np.uint8, (count, size, size, 3))
        with ThreadPoolExecutor() as pool:
            for _ in track(pool.map(write, starts), description, total=len(starts), transient=True):
                pass
        faces.flush()
        with writing(path.with_suffix(".hashes.npy")) as beside:  # first: they belong to any face cache that is seen
            np.save(beside, hashes)
