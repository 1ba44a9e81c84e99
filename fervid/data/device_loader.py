"""Loading from faces or cached features in GPU memory, where batches are gathered and augmented without transfers."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from fervid.data.datasets import Batch, FeatureDataset, FrameDataset, cached_name, mirrored_name
from fervid.data.seeds import draw_seed

MAX_MEMORY_FRACTION = 0.25  # of the device's memory; the rest is for the network and its gradients
CHUNK_BYTES = 2**28  # read from disk at a time, so that the whole array need not fit into RAM


def fits(arrays: Sequence[np.ndarray], device: torch.device) -> bool:
    """Whether arrays fit into the memory of a CUDA device beside the network.

    The decision depends on the total memory instead of the free memory, so that a resumed run decides in the same way.
    """
    needed = sum(array.nbytes for array in arrays)
    return needed <= MAX_MEMORY_FRACTION * torch.cuda.get_device_properties(device).total_memory


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copies a memory-mapped array to a device in chunks."""
    copy = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)
    source, target = array.reshape(-1), copy.view(-1)  # flat, since the first axis of features may have length 1
    step = CHUNK_BYTES // array.itemsize
    for start in range(0, len(source), step):
        target[start : start + step] = torch.from_numpy(np.array(source[start : start + step]))
    return copy


class DeviceLoader:
    """Iterates over one subset in batches, like a DataLoader, but on the device.

    Without augmentation, its batches equal those of a DataLoader of the same dataset. The host never reads values back
    from the device, so that it can run ahead of it.

    Args:
        dataset: provides rows, labels and, for pictures, the augmentation.
        source: returns the ``arrays`` of the dataset on the device: the faces, uint8 (M, H, W, 3), or several arrays of
            features, float32 (M, ...). Called at the start of every epoch; the result is not kept between epochs.
        batch_size: number of frames per step.
        sampler: order of an epoch; None: the order of the dataset.
        drop_last: whether to drop a smaller last batch.

    A batch is a dict: ``image`` uint8 (B, 3, H, W), float32 in [0, 1] if augmented, or ``image_features`` (B, ...);
    ``emotion`` int64 (B,), ``index`` int64 (B,).
    """

    batch_sampler = None  # Lightning looks for it wherever there is a sampler

    def __init__(
        self,
        dataset: FrameDataset | FeatureDataset,
        source: Callable[[], list[Tensor]],
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
        arrays, epoch = self.source(), int(self.dataset.epoch)
        device = arrays[0].device
        rows = torch.tensor(self.dataset.rows, dtype=torch.int64, device=device)
        known = {name: values.to(device) for name, values in self.dataset.targets.items()}
        known["index"] = self.dataset.index.to(device)
        generator = torch.Generator(device)
        features = self._gather(self.dataset, arrays, rows) if isinstance(self.dataset, FeatureDataset) else None
        order = np.arange(len(rows)) if self.sampler is None else np.fromiter(self.sampler, np.int64)
        on_device = torch.from_numpy(order).to(device)

        def of(chosen: Tensor) -> Batch:
            return {name: values[chosen] for name, values in known.items()}

        # A function, so that the tensors of a batch are freed after the step; a generator would keep them alive.
        def batch(start: int) -> Batch:
            chosen = on_device[start : start + self.batch_size]
            if features is not None:
                return {**features(chosen), **of(chosen)}
            faces = arrays[0][rows[chosen]].permute(0, 3, 1, 2)
            if self.augment is not None:
                # Taken from the order on the host, which does not wait for the device.
                generator.manual_seed(draw_seed(self.dataset.seed, epoch, int(order[start])))
                faces = self.augment(faces, generator)
            return {"image": faces, **of(chosen)}

        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield batch(start)

    @staticmethod
    def _gather(dataset: FeatureDataset, arrays: list[Tensor], rows: Tensor) -> Callable[[Tensor], Batch]:
        """Returns a function that gathers the features of the chosen frames in the views of this epoch."""
        views, mirrored = dataset.views(), dataset.cached.mirrored is not None
        used = np.unique(views).tolist()  # on the host: the device would have to be waited for
        drawn = torch.from_numpy(views).to(rows.device)

        def gather(chosen: Tensor) -> Batch:
            where = rows[chosen]
            features = arrays[used[0]][where]
            for view in used[1:]:
                is_drawn = (drawn[chosen] == view).view(-1, *[1] * (features.dim() - 1))
                features = torch.where(is_drawn, arrays[view][where], features)
            served = {cached_name("image"): features}
            return served | ({mirrored_name("image"): arrays[-1][where]} if mirrored else {})

        return gather
