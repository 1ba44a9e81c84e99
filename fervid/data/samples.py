"""Samples: the inputs of the network, with one row of predictions each.

Another modality, such as sound, is another kind of sample. Its batches have an entry with the name of the modality,
which an encoder of ``fervid/models`` maps to features (:attr:`fervid.tasks.task.Task.encoders`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import torch

from fervid.data.datasets import FrameDataset
from fervid.data.face_cache import FaceCache

if TYPE_CHECKING:
    import albumentations as A


class Sample(Protocol):
    """A kind of sample: defines how frames form samples, and how samples form batches."""

    def table(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """Returns the sample table, one row per sample, of a manifest with one row per frame.

        The row number of a sample is its ``index`` in a batch.
        """
        ...

    def dataset(
        self,
        face_cache: FaceCache,
        samples: pd.DataFrame,
        targets: Mapping[str, np.ndarray],
        *,
        augmentation: "A.Compose | None",
        seed: int,
        epoch: torch.Tensor | None,
    ) -> FrameDataset:
        """Returns a dataset of samples.

        Args:
            face_cache: cache of the faces.
            samples: n rows of :meth:`table`.
            targets: values of each target by its name, (N,) or (N, D).
            augmentation: augmentation of the pictures, or None.
            seed: seed of the augmentation.
            epoch: the sampler's epoch, a scalar tensor in shared memory.
        """
        ...


class FrameSample:
    """A single frame; the entry ``image`` of a batch is (B, 3, H, W)."""

    def table(self, manifest: pd.DataFrame) -> pd.DataFrame:
        return manifest

    def dataset(
        self,
        face_cache: FaceCache,
        samples: pd.DataFrame,
        targets: Mapping[str, np.ndarray],
        *,
        augmentation: "A.Compose | None",
        seed: int,
        epoch: torch.Tensor | None,
    ) -> FrameDataset:
        rows, index = samples["cache_row"].to_numpy(), samples.index.to_numpy()
        return FrameDataset(face_cache, rows, index, targets, augmentation=augmentation, seed=seed, epoch=epoch)
