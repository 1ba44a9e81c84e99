"""Arrays of different length in one memory-mapped file, such as the sounds of a corpus."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fervid.storage.atomic import writing


class RaggedRows:
    """N arrays (L_i, ...) that differ in their first dimension, read from disk on access.

    The values are in the file ``path``, one array after the other; a second file with the ending ``.offsets.npz``
    records where each array starts.

    Args:
        path: path of the file with the values.
        dtype: data type of the values.
    """

    def __init__(self, path: Path, dtype: type):
        self.path, self.dtype = path, dtype
        self._offsets_path = path.with_suffix(".offsets.npz")
        self._opened: tuple[np.memmap, np.ndarray] | None = None

    def exists(self) -> bool:
        """Whether both files are complete."""
        return self.path.exists() and self._offsets_path.exists()

    @contextmanager
    def writing(self) -> Iterator[Callable[[np.ndarray], None]]:
        """Yields a function that appends an array; both files appear once the block ends without an error.

        Raises:
            OSError: if the files cannot be written.
        """
        lengths: list[int] = []
        shape: list[int] = []
        with writing(self._offsets_path) as offsets_file, writing(self.path) as values_file:
            with open(values_file, "wb") as file:

                def append(values: np.ndarray) -> None:
                    lengths.append(len(values))
                    shape[:] = values.shape[1:]
                    file.write(np.ascontiguousarray(values, self.dtype).tobytes())

                yield append
            with open(offsets_file, "wb") as file:
                offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
                np.savez(file, offsets=offsets, shape=np.array(shape, dtype=np.int64))
        self._opened = None

    @property
    def offsets(self) -> np.ndarray:
        """Where each array starts, followed by the end of the last one, int64 (N + 1,)."""
        return self._open()[1]

    @property
    def lengths(self) -> np.ndarray:
        """Length L of each array, int64 (N,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """Returns a copy of an array, (L, ...)."""
        values, offsets = self._open()
        return np.array(values[offsets[row] : offsets[row + 1]])

    def _open(self) -> tuple[np.memmap, np.ndarray]:
        if self._opened is None:
            with np.load(self._offsets_path) as stored:
                offsets, shape = stored["offsets"], tuple(stored["shape"].tolist())
            size = (int(offsets[-1]), *shape)
            values = np.memmap(self.path, dtype=self.dtype, mode="r", shape=size) if np.prod(size) else np.empty(size)
            self._opened = values, offsets  # type: ignore[assignment]
        assert self._opened is not None
        return self._opened

    def __getstate__(self) -> dict:
        # Pickling a memory map would copy the whole array; workers open the file themselves.
        return {**self.__dict__, "_opened": None}
