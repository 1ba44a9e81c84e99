"""Faces, or cached features, that live on the GPU: batches are gathered and augmented there, and nothing travels."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from fervid.data.frames import Batch, FeatureDataset, FrameDataset, draw_seed

SHARE = 0.25  # of the memory that is free on the device: the network and its gradients want the rest
CHUNK = 2**28  # bytes read from the disk at a time: RAM need not hold the whole


def fits(array: np.ndarray, device: torch.device) -> bool:
    """Whether there is room for an array on a CUDA device beside the network."""
    return array.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copies a memory-mapped array to a device, a part at a time."""
    copy = torch.empty(array.shape, dtype=torch.from_numpy(array[:0].copy()).dtype, device=device)
    step = max(1, CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        copy[start : start + step] = torch.from_numpy(np.array(array[start : start + step]))
    return copy


class ResidentLoader:
    """Walks one side of a split in batches, as a DataLoader does, on the device.

    Without augmentation its batches equal those of a DataLoader over the same dataset. The host asks nothing back from
    the device, so that it can run ahead of it.

    Args:
        dataset: which rows, labels and, with pictures, augmentation.
        source: on the device, what the dataset reads from the disk: the whole store, uint8 (M, H, W, 3), or the
            features, float32 (V, M, ...).
        batch_size: frames a step.
        sampler: the order of an epoch; None for the dataset's own.
        drop_last: whether to leave out a last batch that is smaller.

    A batch is a dict: ``image`` uint8 (B, 3, H, W), float32 in [0, 1] if augmented, or ``features`` (B, ...);
    ``label`` int64 (B,), ``index`` int64 (B,).
    """

    def __init__(
        self,
        dataset: FrameDataset | FeatureDataset,
        source: Tensor,
        *,
        batch_size: int,
        sampler: Sampler[int] | None = None,
        drop_last: bool = False,
    ):
        self.dataset, self.source, self.sampler = dataset, source, sampler
        self.batch_size, self.drop_last = batch_size, drop_last
        device = source.device
        self.rows = torch.tensor(dataset.rows, dtype=torch.int64, device=device)
        self.labels, self.index = dataset.labels.to(device), dataset.index.to(device)
        self.augment = None
        if isinstance(dataset, FrameDataset) and dataset.augmentation is not None:
            from fervid.data.device_augmentation import DeviceAugmentation  # loads albumentations

            self.augment = DeviceAugmentation(dataset.augmentation)
            self.generator = torch.Generator(device)

    def __len__(self) -> int:
        frames = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        return frames // self.batch_size if self.drop_last else -(-frames // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = list(range(len(self.dataset)) if self.sampler is None else self.sampler)
        on_device = torch.tensor(order, device=self.source.device)
        epoch = int(self.dataset.epoch)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = on_device[start : start + self.batch_size]
            batch = {"label": self.labels[chosen], "index": self.index[chosen]}
            if isinstance(self.dataset, FeatureDataset):
                yield {"features": self.source[epoch % len(self.source)][self.rows[chosen]], **batch}
                continue
            faces = self.source[self.rows[chosen]].permute(0, 3, 1, 2)
            if self.augment is not None:
                # The host knows which frame comes first: the seed waits for nothing.
                self.generator.manual_seed(draw_seed(self.dataset.seed, epoch, order[start]))
                faces = self.augment(faces, self.generator)
            yield {"image": faces, **batch}
