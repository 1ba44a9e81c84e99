"""Loading from faces or cached features in GPU memory, where batches are gathered and augmented without transfers."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from fervid.data.datasets import SampleDataset
from fervid.data.inputs import Batch

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
        dataset: the samples; all its inputs have arrays.
        source: returns the arrays of each input on the device. Called at the start of every epoch; the result is not
            kept between epochs.
        batch_size: number of samples per step.
        sampler: order of an epoch; None: the order of the dataset.
        drop_last: whether to drop a smaller last batch.

    A batch is a dict like that of the dataset; augmented pictures are float32 in [0, 1].
    """

    batch_sampler = None  # Lightning looks for it wherever there is a sampler

    def __init__(
        self,
        dataset: SampleDataset,
        source: Callable[[], list[list[Tensor]]],
        *,
        batch_size: int,
        sampler: Sampler[int] | None = None,
        drop_last: bool = False,
    ):
        self.dataset, self.source, self.sampler = dataset, source, sampler
        self.batch_size, self.drop_last = batch_size, drop_last

    def __len__(self) -> int:
        samples = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        sources, epoch = self.source(), int(self.dataset.epoch)
        device = sources[0][0].device
        gathers = [inputs.gathering(arrays, epoch) for inputs, arrays in zip(self.dataset.inputs, sources, strict=True)]
        known = {name: values.to(device) for name, values in self.dataset.targets.items()}
        known["index"] = self.dataset.index.to(device)
        order = np.arange(len(self.dataset)) if self.sampler is None else np.fromiter(self.sampler, np.int64)
        on_device = torch.from_numpy(order).to(device)

        # A function, so that the tensors of a batch are freed after the step; a generator would keep them alive.
        def batch(start: int) -> Batch:
            chosen, first = on_device[start : start + self.batch_size], int(order[start])
            entries = {name: values[chosen] for name, values in known.items()}
            for gather in gathers:
                entries |= gather(chosen, first)
            return entries

        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield batch(start)
