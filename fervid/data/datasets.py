"""Torch dataset of samples, and the sampler that orders them for training.

All randomness is a pure function of (seed, epoch) and independent of the number of workers, so that a resumed run draws
the same order and the same augmentations as an uninterrupted one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from fervid.data.inputs import Batch, Inputs
from fervid.data.seeds import draw_seed


class EpochSampler(Sampler[int]):
    """Draws the order of the training samples from (seed, epoch) and distributes the samples over ranks.

    As with PyTorch's DistributedSampler, ``set_epoch`` sets the epoch; Lightning calls it automatically.

    Args:
        count: number of samples N.
        seed: seed of the order.
        weights: sampling weight of each sample, shape (N,), for N draws with replacement. None: every sample once.
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
        # All ranks draw the same number of samples, since otherwise they would wait for each other forever.
        for block in order[self.rank : len(self) * self.ranks : self.ranks].split(10_000):
            yield from block.tolist()  # in blocks, since a list takes ten times the memory of the tensor

    def __len__(self) -> int:
        return self.count // self.ranks


class SampleDataset(Dataset):
    """Samples of one subset; a whole batch is fetched at once.

    A batch is a dict: the entries of the inputs, the targets (B, ...), and ``index`` int64 (B,).

    Args:
        inputs: inputs of each modality.
        index: row of each of the N samples in the sample table, shape (N,).
        targets: values of each target by its name, (N,) or (N, D).
        epoch: the sampler's epoch, a scalar tensor in shared memory.
    """

    def __init__(
        self,
        inputs: Sequence[Inputs],
        index: np.ndarray,
        targets: Mapping[str, np.ndarray],
        *,
        epoch: torch.Tensor | None = None,
    ):
        self.inputs = list(inputs)
        self.index = torch.from_numpy(index.astype(np.int64))
        self.targets = {name: torch.from_numpy(values) for name, values in targets.items()}
        self.epoch = torch.tensor(0) if epoch is None else epoch

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.__getitems__([position]).items()}

    def __getitems__(self, positions: list[int]) -> Batch:
        epoch = int(self.epoch)
        batch: Batch = {}
        for each in self.inputs:
            batch |= each.fetch(positions, epoch)
        batch |= {name: values[positions] for name, values in self.targets.items()}
        return batch | {"index": self.index[positions]}


def already_a_batch(batch: Any) -> Any:
    """Collate function for datasets that fetch whole batches; returns the batch unchanged."""
    return batch
