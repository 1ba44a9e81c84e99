"""Torch datasets of the frames of a manifest, and the sampler that orders them for training.

All randomness is a pure function of (seed, epoch) and independent of the number of workers, so that a resumed run draws
the same order and the same augmentations as an uninterrupted one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from fervid.data.face_cache import FaceCache
from fervid.data.seeds import draw_seed

if TYPE_CHECKING:  # importing albumentations takes half a second, which training without augmentation need not wait for
    import albumentations as A

Batch = dict[str, torch.Tensor]


class CachedFeatures(NamedTuple):
    """Cached features of one subset.

    Attributes:
        views: V arrays, float32 (M, ...): the views of M pictures. Subsets share arrays.
        rows: row of each of the N samples of the subset in the arrays, shape (N,).
        chances: probability of each view, shape (V,), if every sample draws its view in every epoch; None: all samples
            use view e modulo V in epoch e.
        mirrored: features of the mirror images, float32 (M, ...), if every sample is served together with its mirror
            image; otherwise None.
    """

    views: tuple[np.ndarray, ...]
    rows: np.ndarray
    chances: Sequence[float] | None = None
    mirrored: np.ndarray | None = None


def cached_name(modality: str) -> str:
    """Returns the name of the batch entry with the cached features of a modality, which replaces the modality."""
    return f"{modality}_features"


def mirrored_name(modality: str) -> str:
    """Returns the name of the batch entry with the cached features of the mirror images of a modality."""
    return f"{cached_name(modality)}_mirrored"


class EpochSampler(Sampler[int]):
    """Draws the order of the training frames from (seed, epoch) and distributes the frames over ranks.

    As with PyTorch's DistributedSampler, ``set_epoch`` sets the epoch; Lightning calls it automatically.

    Args:
        count: number of frames N.
        seed: seed of the order.
        weights: sampling weight of each frame, shape (N,), for N draws with replacement. None: every frame once.
        epoch: first epoch.
    """

    def __init__(self, count: int, *, seed: int, weights: np.ndarray | None = None, epoch: int = 0):
        self.count, self.seed, self.weights = count, seed, weights
        # In shared memory, since persistent workers read the epoch to seed their augmentations.
        self.epoch = torch.tensor(epoch).share_memory_()
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.ranks = torch.distributed.get_world_size() if distributed else 1

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(draw_seed(self.seed, int(self.epoch)))
        if self.weights is None:
            order = torch.randperm(self.count, generator=generator)
        else:
            weights = torch.from_numpy(self.weights)
            order = torch.multinomial(weights, self.count, replacement=True, generator=generator)
        # All ranks draw the same number of frames, since otherwise they would wait for each other forever.
        for block in order[self.rank : len(self) * self.ranks : self.ranks].split(10_000):
            yield from block.tolist()  # in blocks, since a list takes ten times the memory of the tensor

    def __len__(self) -> int:
        return self.count // self.ranks


class _ManifestDataset(Dataset):
    """Targets and row numbers of samples; subclasses add the input of the network."""

    def __init__(self, index: np.ndarray, targets: Mapping[str, np.ndarray]):
        self.index = torch.from_numpy(index.astype(np.int64))
        self.targets = {name: torch.from_numpy(values) for name, values in targets.items()}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.__getitems__([position]).items()}

    def __getitems__(self, positions: list[int]) -> Batch:
        return {name: values[positions] for name, values in self.targets.items()} | {"index": self.index[positions]}


class FrameDataset(_ManifestDataset):
    """Pictures of one subset; a whole batch is fetched at once.

    Args:
        face_cache: cache of the faces.
        rows: row of each of the N frames in the face cache, shape (N,).
        index: row of each frame in the sample table, shape (N,).
        targets: values of each target by its name, (N,) or (N, D).
        augmentation: augmentation of the pictures, or None.
        seed: seed of the augmentation.
        epoch: the sampler's epoch, a scalar tensor in shared memory.

    A batch is a dict: ``image`` uint8 (B, 3, H, W), the targets (B, ...), ``index`` int64 (B,).
    """

    def __init__(
        self,
        face_cache: FaceCache,
        rows: np.ndarray,
        index: np.ndarray,
        targets: Mapping[str, np.ndarray],
        *,
        augmentation: "A.Compose | None" = None,
        seed: int = 0,
        epoch: torch.Tensor | None = None,
    ):
        super().__init__(index, targets)
        self.face_cache, self.rows = face_cache, rows
        self.augmentation, self.seed = augmentation, seed
        self.epoch = torch.tensor(0) if epoch is None else epoch

    @property
    def arrays(self) -> list[np.ndarray]:
        """The arrays from which batches are gathered."""
        return [self.face_cache.faces]

    def __getitems__(self, positions: list[int]) -> Batch:
        faces = self.face_cache[self.rows[positions]]
        if self.augmentation is not None:
            # Seeded by the content of the batch, so that the number of workers does not matter.
            self.augmentation.set_random_seed(draw_seed(self.seed, int(self.epoch), positions[0]))
            faces = np.stack([self.augmentation(image=face)["image"] for face in faces])
        # A view: (B, H, W, 3) in memory is (B, 3, H, W) in channels_last, the faster layout.
        return {"image": torch.from_numpy(faces).permute(0, 3, 1, 2), **super().__getitems__(positions)}


class FeatureDataset(_ManifestDataset):
    """Cached features of one subset, the outputs of the frozen stages.

    Args:
        cached: features of the N frames.
        index: row of each frame in the sample table, shape (N,).
        targets: values of each target by its name, (N,) or (N, D).
        seed: seed of the drawn views.
        epoch: the sampler's epoch.

    A batch is a dict: ``image_features`` float32 (B, ...), the targets (B, ...), ``index`` int64 (B,), and
    ``image_features_mirrored`` (B, ...) if the mirror images are cached for every frame.
    """

    def __init__(
        self,
        cached: CachedFeatures,
        index: np.ndarray,
        targets: Mapping[str, np.ndarray],
        *,
        seed: int = 0,
        epoch: torch.Tensor | None = None,
    ):
        super().__init__(index, targets)
        self.cached, self.rows = cached, cached.rows
        self.seed = seed
        self.epoch = torch.tensor(0) if epoch is None else epoch
        self._drawn: tuple[int, np.ndarray] | None = None  # epoch and views

    @property
    def arrays(self) -> list[np.ndarray]:
        """The arrays from which batches are gathered: the views, followed by the mirror images if they are served."""
        return [*self.cached.views, *([] if self.cached.mirrored is None else [self.cached.mirrored])]

    def views(self) -> np.ndarray:
        """Returns the view of each frame in the current epoch, shape (N,)."""
        epoch = int(self.epoch)
        if self._drawn is None or self._drawn[0] != epoch:
            if self.cached.chances is None:
                views = np.full(len(self), epoch % len(self.cached.views))
            else:
                generator = np.random.default_rng(draw_seed(self.seed, epoch))
                views = generator.choice(len(self.cached.views), size=len(self), p=self.cached.chances)
            self._drawn = epoch, views
        return self._drawn[1]

    def __getitems__(self, positions: list[int]) -> Batch:
        views, rows = self.views()[positions], self.rows[positions]
        features = np.empty((len(rows), *self.cached.views[0].shape[1:]), dtype=np.float32)
        for view in np.unique(views):
            features[views == view] = self.cached.views[view][rows[views == view]]
        served = {cached_name("image"): torch.from_numpy(features)}
        if self.cached.mirrored is not None:
            served[mirrored_name("image")] = torch.from_numpy(self.cached.mirrored[rows])
        return {**served, **super().__getitems__(positions)}


def already_a_batch(batch: Any) -> Any:
    """Collate function for datasets that fetch whole batches; returns the batch unchanged."""
    return batch
