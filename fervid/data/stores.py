"""The inputs of one modality for all frames or clips of a datamodule, in files that are written once."""

import errno
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from rich import get_console
from rich.progress import track

from fervid.data.face_cache import FaceCache, build_face_cache
from fervid.data.inputs import Augmentation, Inputs, Pictures, Sequences, padded, scaled
from fervid.data.seeds import draw_seed
from fervid.errors import InputError
from fervid.storage.array_files import no_room
from fervid.storage.atomic import writing
from fervid.storage.ragged_rows import RaggedRows

if TYPE_CHECKING:
    import albumentations as A

Read = Callable[[int], np.ndarray]


class Store(Protocol):
    """The inputs of one modality, N rows.

    Attributes:
        modality: name of the batch entry.
        path: path of the file.
        title: what the file contains, for the progress bar.
        batch_size: number of rows whose features are cached in one forward pass.
    """

    modality: str
    path: Path
    title: str
    batch_size: int

    def __len__(self) -> int: ...

    @property
    def is_built(self) -> bool:
        """Whether the files are complete."""
        ...

    def build(self, count: int, read: Read, description: str) -> None:
        """Writes the files.

        Args:
            count: number of rows N.
            read: returns the input of a row as the source provides it.
            description: label of the progress bar.

        Raises:
            InputError: if the disk has too little free space or cannot be written.
        """
        ...

    def hashes(self) -> np.ndarray:
        """Returns a hash of each row, uint8 (N, 32): equal for equal inputs, and close for pictures that look alike."""
        ...

    def inputs(self, rows: np.ndarray, *, augmentation: Any = None, seed: int = 0) -> Inputs:
        """Returns the inputs of samples, in the given order.

        Args:
            rows: row of each sample, shape (N,), or (N, T) for samples of T frames.
            augmentation: augmentation of this modality, or None.
            seed: seed of the augmentation.
        """
        ...

    def view(
        self, rows: np.ndarray, *, mirrored: bool = False, augmentation: Any = None, seeds: tuple[int, ...] = ()
    ) -> np.ndarray:
        """Returns some rows as the network's input, for cached features.

        Args:
            rows: row numbers, shape (B,).
            mirrored: whether pictures are mirrored.
            augmentation: augmentation, seeded by ``seeds`` and the row, so that it does not depend on the other rows.
            seeds: seeds of the augmentation.
        """
        ...


class PictureStore:
    """Faces at the training size.

    Args:
        folder: folder of the files.
        size: side of the pictures in pixels.
        grayscale: whether to replace all three channels with the luminance.
    """

    modality = "image"
    # Every forward pass has exactly this number of pictures, since libraries choose their algorithms by it.
    batch_size = 64

    def __init__(self, folder: Path, size: int, *, grayscale: bool):
        self.path = folder / f"faces_{size}{'_gray' if grayscale else ''}.npy"
        self.size, self.grayscale = size, grayscale
        self.faces = FaceCache(self.path)
        self.title = f"faces at {size} px"

    def __len__(self) -> int:
        return len(self.faces.faces)

    @property
    def is_built(self) -> bool:
        return self.path.exists()

    def build(self, count: int, read: Read, description: str) -> None:
        build_face_cache(self.path, count, read, size=self.size, grayscale=self.grayscale, description=description)

    @property
    def hashes_path(self) -> Path:
        """Path of the perceptual hashes."""
        return self.path.with_suffix(".hashes.npy")

    def hashes(self) -> np.ndarray:
        return np.load(self.hashes_path)

    def inputs(self, rows: np.ndarray, *, augmentation: "A.Compose | None" = None, seed: int = 0) -> Inputs:
        return Pictures(self.faces, rows, augmentation=augmentation, seed=seed)

    def view(
        self,
        rows: np.ndarray,
        *,
        mirrored: bool = False,
        augmentation: "A.Compose | None" = None,
        seeds: tuple[int, ...] = (),
    ) -> np.ndarray:
        """Returns pictures, uint8 (B, 3, H, W)."""
        faces = self.faces[rows]
        if mirrored:
            faces = np.ascontiguousarray(faces[:, :, ::-1])
        if augmentation is not None:
            for number, row in enumerate(rows):
                augmentation.set_random_seed(draw_seed(*seeds, int(row)))
                faces[number] = augmentation(image=faces[number])["image"]
        return np.moveaxis(faces, -1, 1)


class SequenceStore:
    """Sounds or feature tables.

    Args:
        folder: folder of the files.
        modality: ``sound`` for int16 (L,), or ``features`` for float32 (L, F).
    """

    # Features do not depend on the length of other sequences, and no arithmetic is spent on padding.
    batch_size = 1

    def __init__(self, folder: Path, modality: str):
        self.modality = modality
        self.path = folder / f"{modality}.bin"
        self.title = "sounds" if modality == "sound" else modality
        self.rows = RaggedRows(self.path, np.int16 if modality == "sound" else np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_built(self) -> bool:
        return self.rows.exists() and self._hashes_path.exists()

    @property
    def _hashes_path(self) -> Path:
        return self.path.with_suffix(".hashes.npy")

    def build(self, count: int, read: Read, description: str) -> None:
        try:
            self._write(count, read, description)
        except OSError as error:
            raise no_room(self.path.parent) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error from error

    def _write(self, count: int, read: Read, description: str) -> None:
        hashes = np.empty((count, 32), dtype=np.uint8)
        hidden = not get_console().is_terminal
        with writing(self._hashes_path) as unfinished:
            with self.rows.writing() as append:
                for row in track(range(count), description, total=count, transient=True, disable=hidden):
                    values: np.ndarray = np.ascontiguousarray(read(row), self.rows.dtype)
                    hashes[row] = np.frombuffer(hashlib.sha256(values.tobytes()).digest(), np.uint8)
                    append(values)
            with open(unfinished, "wb") as file:
                np.save(file, hashes)

    def hashes(self) -> np.ndarray:
        return np.load(self._hashes_path)

    def inputs(self, rows: np.ndarray, *, augmentation: Augmentation | None = None, seed: int = 0) -> Inputs:
        return Sequences(self.modality, self.rows, rows, augmentation=augmentation, seed=seed)

    def view(
        self,
        rows: np.ndarray,
        *,
        mirrored: bool = False,
        augmentation: Augmentation | None = None,
        seeds: tuple[int, ...] = (),
    ) -> np.ndarray:
        """Returns sequences, float32 (B, L) or (B, L, F), padded with NaN."""
        sequences = [scaled(self.rows[row]) for row in rows.tolist()]
        if augmentation is not None:
            generators = [np.random.default_rng(draw_seed(*seeds, row)) for row in rows.tolist()]
            sequences = [augmentation(each, draws) for each, draws in zip(sequences, generators, strict=True)]
        return padded(sequences)

    def longest(self, rows: np.ndarray) -> int:
        """Returns the row with the longest sequence among some rows."""
        return int(rows[self.rows.lengths[rows].argmax()])


def make_stores(modalities: Sequence[str], folder: Path, *, image_size: int, grayscale: bool) -> dict[str, Store]:
    """Returns the store of each modality, whose files are in a folder; see :class:`PictureStore`."""
    pictures = PictureStore(folder, image_size, grayscale=grayscale)
    return {name: pictures if name == pictures.modality else SequenceStore(folder, name) for name in modalities}


def make_cache_folder(folder: Path, cache_dir: Path) -> None:
    """Makes a folder below ``cache_dir`` unless it exists.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cache_dir={cache_dir} cannot be written ({error.strerror}): choose another folder."
        ) from error
