"""Torch datasets over a manifest's frames, and the order in which training walks them.

Everything random here is a pure function of (seed, epoch), whatever the number of workers: a resumed run draws the
same order and the same augmentations as an uninterrupted one.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from fervid.data.face_cache import FaceCache
from fervid.data.seeds import draw_seed

if TYPE_CHECKING:  # half a second that training without augmentation need not wait for
    import albumentations as A

Batch = dict[str, torch.Tensor]


def cached_name(modality: str) -> str:
    """The entry of a batch that holds cached features of a modality instead of the modality itself."""
    return f"{modality}_features"


class EpochSampler(Sampler[int]):
    """The order of the training frames in an epoch, drawn from (seed, epoch) and shared out over ranks.

    As with PyTorch's DistributedSampler, ``set_epoch`` moves on; Lightning calls it by itself.

    Args:
        weights: chance of each of the N frames to be drawn, shape (N,): N draws with replacement. None: every frame
            once.
        count: number of frames N.
        seed: of the order.
        epoch: where to begin.
    """

    def __init__(self, count: int, *, seed: int, weights: np.ndarray | None = None, epoch: int = 0):
        self.count, self.seed, self.weights = count, seed, weights
        # Workers that outlive an epoch read it too, to draw their augmentations.
        self.epoch = torch.tensor(epoch).share_memory_()
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.ranks = torch.distributed.get_world_size() if distributed else 1

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration is."""
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(draw_seed(self.seed, int(self.epoch)))
        if self.weights is None:
            order = torch.randperm(self.count, generator=generator)
        else:
            chances = torch.from_numpy(self.weights)
            order = torch.multinomial(chances, self.count, replacement=True, generator=generator)
        # Ranks of unequal length would wait for each other for ever.
        for block in order[self.rank : len(self) * self.ranks : self.ranks].split(10_000):
            yield from block.tolist()  # all at once they would take ten times the memory of the order

    def __len__(self) -> int:
        return self.count // self.ranks


class _ManifestDataset(Dataset):
    """Targets and numbers of samples; a subclass adds what the network sees."""

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
    """Pictures of one side of a split; a whole batch is fetched in one go.

    Args:
        face_cache: the faces.
        rows: row in the face cache of each of the N frames, shape (N,).
        index: row of each frame in the sample table, shape (N,).
        targets: by the name of each target its numbers, (N,) or (N, D).
        augmentation: what to do to a training picture, or None.
        seed: of the augmentation.
        epoch: the sampler's epoch, a shared scalar tensor.

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

    def __getitems__(self, positions: list[int]) -> Batch:
        faces = self.face_cache[self.rows[positions]]
        if self.augmentation is not None:
            # Seeded by what is drawn, not by who draws it: the number of workers changes nothing.
            self.augmentation.set_random_seed(draw_seed(self.seed, int(self.epoch), positions[0]))
            faces = np.stack([self.augmentation(image=face)["image"] for face in faces])
        # A view: (B, H, W, 3) in memory is (B, 3, H, W) in channels_last, the fast layout.
        return {"image": torch.from_numpy(faces).permute(0, 3, 1, 2), **super().__getitems__(positions)}


class FeatureDataset(_ManifestDataset):
    """Cached outputs of the frozen prefix of one side of a split.

    Args:
        features: float32 (V, M, ...), V augmented views of M rows.
        rows: row in ``features`` of each of the N frames, shape (N,).
        index: row of each frame in the sample table, shape (N,).
        targets: by the name of each target its numbers, (N,) or (N, D).
        epoch: the sampler's epoch; epoch e shows view e modulo V.

    A batch is a dict: ``image_features`` float32 (B, ...), the targets (B, ...), ``index`` int64 (B,).
    """

    def __init__(
        self,
        features: np.ndarray,
        rows: np.ndarray,
        index: np.ndarray,
        targets: Mapping[str, np.ndarray],
        *,
        epoch: torch.Tensor | None = None,
    ):
        super().__init__(index, targets)
        self.features, self.rows = features, rows
        self.epoch = torch.tensor(0) if epoch is None else epoch

    def __getitems__(self, positions: list[int]) -> Batch:
        view = int(self.epoch) % len(self.features)
        features = torch.from_numpy(self.features[view][self.rows[positions]])
        return {cached_name("image"): features, **super().__getitems__(positions)}


def already_a_batch(batch: Any) -> Any:
    """The collate function of datasets that fetch whole batches."""
    return batch
