"""The inputs of one modality for the samples of a subset: pictures, sounds or tables, or cached features of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fervid.data.face_cache import FaceCache
from fervid.data.seeds import draw_seed
from fervid.storage.ragged_rows import RaggedRows

if TYPE_CHECKING:  # importing albumentations takes half a second, which training without augmentation need not wait for
    import albumentations as A

Batch = dict[str, Tensor]
Gather = Callable[[Tensor, int], Batch]  # positions on the device, and the first one on the host -> batch entries


class Augmentation(Protocol):
    """Augmentation of sequences such as :class:`fervid.data.sound_augmentation.SoundAugmentation`."""

    def __call__(self, values: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        """Returns a changed copy of a sequence, float32 (L, ...) -> (M, ...)."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings, which are part of the key of cached features."""
        ...


def cached_name(modality: str) -> str:
    """Returns the name of the batch entry with the cached features of a modality, which replaces the modality."""
    return f"{modality}_features"


def mirrored_name(modality: str) -> str:
    """Returns the name of the batch entry with the cached features of the mirror images of a modality."""
    return f"{cached_name(modality)}_mirrored"


class Inputs(Protocol):
    """Inputs of one modality for N samples."""

    @property
    def arrays(self) -> list[np.ndarray] | None:
        """The arrays from which batches are gathered; None if they cannot be gathered on a device."""
        ...

    def fetch(self, positions: list[int], epoch: int) -> Batch:
        """Returns the batch entries of the samples at some positions from 0 to N - 1."""
        ...

    def gathering(self, arrays: Sequence[Tensor], epoch: int) -> Gather:
        """Returns a function that gathers batch entries on the device of ``arrays``."""
        ...


class Pictures:
    """Pictures, uint8 (B, 3, H, W), or (B, T, 3, H, W) for samples of T frames.

    Args:
        face_cache: cache of the faces.
        rows: row of each picture in the face cache, shape (N,) or (N, T).
        augmentation: augmentation of the pictures, or None. All frames of a sample are augmented alike.
        seed: seed of the augmentation.
    """

    def __init__(
        self, face_cache: FaceCache, rows: np.ndarray, *, augmentation: "A.Compose | None" = None, seed: int = 0
    ):
        self.face_cache, self.rows = face_cache, rows
        self.augmentation, self.seed = augmentation, seed

    @property
    def arrays(self) -> list[np.ndarray] | None:
        return [self.face_cache.faces]

    def fetch(self, positions: list[int], epoch: int) -> Batch:
        faces = self.face_cache[self.rows[positions]]
        if self.augmentation is not None:
            # Seeded by the content of the batch, so that the number of workers does not matter.
            self.augmentation.set_random_seed(draw_seed(self.seed, epoch, positions[0]))
            faces = np.stack([self._augmented(face) for face in faces])
        # A view: (B, H, W, 3) in memory is (B, 3, H, W) in channels_last, the faster layout.
        return {"image": torch.from_numpy(faces).movedim(-1, -3)}

    def _augmented(self, faces: np.ndarray) -> np.ndarray:
        assert self.augmentation is not None
        return self.augmentation(**{"image" if faces.ndim == 3 else "images": faces})[
            "image" if faces.ndim == 3 else "images"
        ]

    def gathering(self, arrays: Sequence[Tensor], epoch: int) -> Gather:
        rows = torch.tensor(self.rows, dtype=torch.int64, device=arrays[0].device)
        generator, augment = torch.Generator(arrays[0].device), None
        if self.augmentation is not None:
            from fervid.data.device_augmentation import DeviceAugmentation  # loads albumentations

            augment = DeviceAugmentation(self.augmentation)

        def gather(chosen: Tensor, first: int) -> Batch:
            faces = arrays[0][rows[chosen]].movedim(-1, -3)
            if augment is not None:
                # Taken from the order on the host, which does not wait for the device.
                generator.manual_seed(draw_seed(self.seed, epoch, first))
                faces = augment(faces, generator)
            return {"image": faces}

        return gather


class Sequences:
    """Sounds, float32 (B, L), or tables, float32 (B, L, F), padded with NaN to the longest of the batch.

    Args:
        modality: name of the batch entry.
        stored: the sequences; integers are divided by their full scale.
        rows: row of each of the N samples in ``stored``, shape (N,).
        augmentation: augmentation of a sequence, or None.
        seed: seed of the augmentation.
    """

    arrays = None  # of different length: gathered on the host

    def __init__(
        self,
        modality: str,
        stored: RaggedRows,
        rows: np.ndarray,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        self.modality, self.stored, self.rows = modality, stored, rows
        self.augmentation, self.seed = augmentation, seed

    def fetch(self, positions: list[int], epoch: int) -> Batch:
        sequences = []
        for position in positions:
            values = scaled(self.stored[self.rows[position]])
            if self.augmentation is not None:
                values = self.augmentation(values, np.random.default_rng(draw_seed(self.seed, epoch, position)))
            sequences.append(values)
        return {self.modality: torch.from_numpy(padded(sequences))}

    def gathering(self, arrays: Sequence[Tensor], epoch: int) -> Gather:
        raise NotImplementedError("sequences are gathered on the host")


def padded(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Joins B float32 sequences (L, ...) to a batch (B, L, ...), with NaN after the end of each."""
    tensors = [torch.from_numpy(sequence) for sequence in sequences]
    return pad_sequence(tensors, batch_first=True, padding_value=torch.nan).numpy()


def scaled(values: np.ndarray) -> np.ndarray:
    """Converts integers to float32 from -1 to 1; leaves floats unchanged."""
    if not np.issubdtype(values.dtype, np.integer):
        return values
    return values.astype(np.float32) / -np.float32(np.iinfo(values.dtype).min)


class CachedFeatures(NamedTuple):
    """Cached features of one modality for one subset.

    Attributes:
        views: V arrays, float32 (M, ...): the views of M inputs. Subsets share arrays.
        rows: row of each of the N samples of the subset in the arrays, shape (N,), or (N, T) for samples of T frames.
        chances: probability of each view, shape (V,), if every sample draws its view in every epoch; None: all samples
            use view e modulo V in epoch e.
        mirrored: features of the mirror images, float32 (M, ...), if every sample is served together with its mirror
            image; otherwise None.
    """

    views: tuple[np.ndarray, ...]
    rows: np.ndarray
    chances: Sequence[float] | None = None
    mirrored: np.ndarray | None = None


class Cached:
    """Cached features, the outputs of the frozen stages: ``<modality>_features``, float32 (B, ...).

    If the mirror images are cached for every sample, there is also ``<modality>_features_mirrored``.

    Args:
        modality: name of the modality.
        cached: features of the N samples.
        seed: seed of the drawn views.
    """

    def __init__(self, modality: str, cached: CachedFeatures, *, seed: int = 0):
        self.modality, self.cached, self.seed = modality, cached, seed
        self._drawn: tuple[int, np.ndarray] | None = None  # epoch and views

    @property
    def arrays(self) -> list[np.ndarray] | None:
        """The views, followed by the mirror images if they are served."""
        return [*self.cached.views, *([] if self.cached.mirrored is None else [self.cached.mirrored])]

    def views(self, epoch: int) -> np.ndarray:
        """Returns the view of each sample in an epoch, shape (N,)."""
        if self._drawn is None or self._drawn[0] != epoch:
            count = len(self.cached.rows)
            if self.cached.chances is None:
                views = np.full(count, epoch % len(self.cached.views))
            else:
                generator = np.random.default_rng(draw_seed(self.seed, epoch))
                views = generator.choice(len(self.cached.views), size=count, p=self.cached.chances)
            self._drawn = epoch, views
        return self._drawn[1]

    def fetch(self, positions: list[int], epoch: int) -> Batch:
        views, rows = self.views(epoch)[positions], self.cached.rows[positions]
        features = np.empty((*rows.shape, *self.cached.views[0].shape[1:]), dtype=np.float32)
        for view in np.unique(views):
            features[views == view] = self.cached.views[view][rows[views == view]]
        served = {cached_name(self.modality): torch.from_numpy(features)}
        if self.cached.mirrored is not None:
            served[mirrored_name(self.modality)] = torch.from_numpy(self.cached.mirrored[rows])
        return served

    def gathering(self, arrays: Sequence[Tensor], epoch: int) -> Gather:
        views, is_mirrored = self.views(epoch), self.cached.mirrored is not None
        rows = torch.tensor(self.cached.rows, dtype=torch.int64, device=arrays[0].device)
        used = np.unique(views).tolist()  # on the host: the device would have to be waited for
        drawn = torch.from_numpy(views).to(rows.device)

        def gather(chosen: Tensor, first: int) -> Batch:
            where = rows[chosen]
            features = arrays[used[0]][where]
            for view in used[1:]:
                is_drawn = (drawn[chosen] == view).view(-1, *[1] * (features.dim() - 1))
                features = torch.where(is_drawn, arrays[view][where], features)
            served = {cached_name(self.modality): features}
            return served | ({mirrored_name(self.modality): arrays[-1][where]} if is_mirrored else {})

        return gather


Features = Mapping[str, Mapping[str, CachedFeatures]]  # of each subset, by modality
