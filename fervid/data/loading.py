"""Chooses how the batches of a dataset are loaded: on the GPU, by worker processes, or in the training process."""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from fervid.data.datasets import SampleDataset, already_a_batch
from fervid.data.device_loader import DeviceLoader, fits, to_device
from fervid.data.inputs import Cached, Pictures
from fervid.processes.lifetime import end_with_parent

log = logging.getLogger(__name__)


class Loading:
    """Makes loaders; arrays that were copied to the GPU are shared by all subsets until :meth:`clear`."""

    def __init__(self) -> None:
        self._device_arrays: dict[int, torch.Tensor] = {}

    def clear(self) -> None:
        """Frees the arrays on the GPU."""
        self._device_arrays.clear()

    def loader(
        self, dataset: SampleDataset, device: torch.device, *, batch_size: int, workers: int, **options: Any
    ) -> DataLoader | DeviceLoader:
        """Returns a loader of a dataset.

        Args:
            dataset: the samples.
            device: device of the network.
            batch_size: number of samples per step.
            workers: number of worker processes.
            **options: ``sampler`` and ``drop_last``.
        """
        source = self._on_device(dataset, device)
        if source is not None:
            return DeviceLoader(dataset, source, batch_size=batch_size, **options)
        # Features are read from a memory map; passing them between processes would only slow this down.
        workers = 0 if all(isinstance(inputs, Cached) for inputs in dataset.inputs) else workers
        return DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=already_a_batch,
            worker_init_fn=partial(end_with_parent, os.getpid()),
            generator=torch.Generator(),  # the default generator is also used by dropout, whose draws would change
            **options,
        )

    def _on_device(self, dataset: SampleDataset, device: torch.device) -> Callable[[], list[list[torch.Tensor]]] | None:
        """Returns a function that returns the arrays of the inputs on the GPU; None if the CPU must load them."""
        if device.type != "cuda":
            return None
        for inputs in dataset.inputs:
            if isinstance(inputs, Pictures) and inputs.augmentation is not None:
                if inputs.rows.ndim > 1:  # frames of a clip are augmented alike, which only the CPU does
                    return None
                from fervid.data.device_augmentation import without_counterpart  # loads albumentations

                missing = without_counterpart(inputs.augmentation)
                if missing:
                    log.info("%s of the augmentation runs on the CPU, which slows training down.", ", ".join(missing))
                    return None
        arrays = [inputs.arrays for inputs in dataset.inputs]
        known = [each for each in arrays if each is not None]
        if len(known) < len(arrays) or not fits([array for each in known for array in each], device):
            return None
        return lambda: [[self._copy_on(array, device) for array in each] for each in known]

    def _copy_on(self, array: np.ndarray, device: torch.device) -> torch.Tensor:
        """Returns the copy of an array on the device, which all subsets share."""
        if id(array) not in self._device_arrays:
            self._device_arrays[id(array)] = to_device(array, device)
        return self._device_arrays[id(array)]
