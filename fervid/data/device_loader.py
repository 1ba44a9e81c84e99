"""Faces, or cached features, that live on the GPU: batches are gathered and augmented there, and nothing travels."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from fervid.data.datasets import Batch, FeatureDataset, FrameDataset, cached_name
from fervid.data.seeds import draw_seed

SHARE = 0.25  # of the device's memory: the network and its gradients want the rest
CHUNK = 2**28  # bytes read from the disk at a time: RAM need not hold the whole


def fits(array: np.ndarray, device: torch.device) -> bool:
    """Whether a CUDA device has room for an array beside the network.

    It asks how large the device is, not what is free: a run that is resumed decides as before.
    """
    return array.nbytes <= SHARE * torch.cuda.get_device_properties(device).total_memory


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copies a memory-mapped array to a device, a part at a time."""
    copy = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)
    flat, there = array.reshape(-1), copy.view(-1)  # one view of features may be all of them
    step = CHUNK // array.itemsize
    for start in range(0, len(flat), step):
        there[start : start + step] = torch.from_numpy(np.array(flat[start : start + step]))
    return copy


class DeviceLoader:
    """Walks one side of a split in batches, as a DataLoader does, on the device.

    Without augmentation its batches equal those of a DataLoader over the same dataset. The host asks nothing back from
    the device, so that it can run ahead of it.

    Args:
        dataset: which rows, labels and, with pictures, augmentation.
        source: gives, on the device, what the dataset reads from disk: the face cache, uint8 (M, H, W, 3), or the
            features, float32 (V, M, ...). Asked for at the start of every epoch, and not held between them.
        batch_size: frames a step.
        sampler: the order of an epoch; None for the dataset's own.
        drop_last: whether to leave out a last batch that is smaller.

    A batch is a dict: ``image`` uint8 (B, 3, H, W), float32 in [0, 1] if augmented, or ``image_features`` (B, ...);
    ``emotion`` int64 (B,), ``index`` int64 (B,).
    """

    batch_sampler = None  # Lightning looks for it wherever there is a sampler

    def __init__(
        self,
        dataset: FrameDataset | FeatureDataset,
        source: Callable[[], Tensor],
        *,
        batch_size: int,
        sampler: Sampler[int] | None = None,
        drop_last: bool = False,
    ):
        self.dataset, self.source, self.sampler = dataset, source, sampler
        self.batch_size, self.drop_last = batch_size, drop_last
        self.augment = None
        if isinstance(dataset, FrameDataset) and dataset.augmentation is not None:
            from fervid.data.device_augmentation import DeviceAugmentation  # loads albumentations

            self.augment = DeviceAugmentation(dataset.augmentation)

    def __len__(self) -> int:
        frames = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        return frames // self.batch_size if self.drop_last else -(-frames // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        source, epoch = self.source(), int(self.dataset.epoch)
        device = source.device
        rows = torch.tensor(self.dataset.rows, dtype=torch.int64, device=device)
        known = {name: values.to(device) for name, values in self.dataset.targets.items()}
        known["index"] = self.dataset.index.to(device)
        generator = torch.Generator(device)
        order = np.arange(len(rows)) if self.sampler is None else np.fromiter(self.sampler, np.int64)
        on_device = torch.from_numpy(order).to(device)

        def of(chosen: Tensor) -> Batch:
            return {name: values[chosen] for name, values in known.items()}

        def batch(start: int) -> Batch:  # whose tensors end with the step: a generator would hold them through it
            chosen = on_device[start : start + self.batch_size]
            if isinstance(self.dataset, FeatureDataset):
                return {cached_name("image"): source[epoch % len(source)][rows[chosen]], **of(chosen)}
            faces = source[rows[chosen]].permute(0, 3, 1, 2)
            if self.augment is not None:
                # The host knows which frame comes first: the seed waits for nothing.
                generator.manual_seed(draw_seed(self.dataset.seed, epoch, int(order[start])))
                faces = self.augment(faces, generator)
            return {"image": faces, **of(chosen)}

        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield batch(start)
