"""Faces at the training size in one memory-mapped file, so that memory use does not grow with the corpus."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich import get_console
from rich.progress import track

from fervid.audit.duplicates import BITS, hash_picture
from fervid.storage.array_files import allocate
from fervid.storage.atomic import writing

MAX_BLOCK_ROWS = 64  # maximum number of rows per task of a thread, since finished blocks are kept in memory


class FaceCache:
    """N square pictures, uint8 (N, size, size, 3) RGB, read from disk on access.

    Args:
        path: path of the ``.npy`` file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._faces: np.memmap | None = None

    @property
    def faces(self) -> np.memmap:
        """The memory map, opened on first access."""
        if self._faces is None:
            self._faces = np.load(self.path, mmap_mode="r")
        return self._faces

    def __getitem__(self, rows: np.ndarray | int) -> np.ndarray:
        """Returns a copy of rows: (B, size, size, 3) for an array of B row numbers, (size, size, 3) for one number."""
        return np.asarray(self.faces[rows])

    def __getstate__(self) -> dict:
        # Pickling a memory map would copy the whole array; workers open the file themselves.
        return {"path": self.path, "_faces": None}


def resize(picture: np.ndarray, size: int, *, grayscale: bool) -> np.ndarray:
    """Resizes a face to the training size.

    Args:
        picture: uint8 (side, side, 3) RGB of any size.
        size: side of the result in pixels.
        grayscale: whether to replace all three channels with the luminance.

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
        path: path of the ``.npy`` file; the hashes, uint8 (N, 32), are written to ``<stem>.hashes.npy``.
        count: number of rows N.
        read: returns row i as uint8 (side, side, 3) RGB of any size.
        size: side of the cached pictures in pixels.
        grayscale: whether to replace all three channels with the luminance.
        description: label of the progress bar.

    Raises:
        InputError: if the disk has too little free space or cannot be written.
    """
    hashes = np.empty((count, BITS // 8), dtype=np.uint8)

    block = min(MAX_BLOCK_ROWS, count // 32 + 1)  # small blocks let a small corpus use all cores

    def write(start: int) -> None:
        for row in range(start, min(start + block, count)):
            picture = read(row)
            hashes[row] = hash_picture(picture)  # of the picture at its original size
            faces[row] = resize(picture, size, grayscale=grayscale)

    starts = range(0, count, block)
    with writing(path) as unfinished:
        faces = allocate(unfinished, np.uint8, (count, size, size, 3))
        hidden = not get_console().is_terminal
        with ThreadPoolExecutor() as pool:
            for _ in track(pool.map(write, starts), description, total=len(starts), transient=True, disable=hidden):
                pass
        faces.flush()
        # Written before the face cache gets its final name, so that every visible face cache has its hashes.
        with writing(path.with_suffix(".hashes.npy")) as unfinished_hashes:
            np.save(unfinished_hashes, hashes)
