"""What the network is shown at once, and what one row of predictions answers.

Another modality, such as sound, is another kind of sample: its batches hold an entry of that name, which an encoder of
``fervid/models`` turns into features (:attr:`fervid.tasks.task.Task.encoders`).
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
    """A kind of sample: how frames become samples, and how samples become batches."""

    def table(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """One row a sample, of a manifest with one row a frame: its number is the ``index`` of a batch."""
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
        """Batches of some samples.

        Args:
            face_cache: the faces.
            samples: N rows of :meth:`table`.
            targets: by the name of each target its numbers, (N,) or (N, D).
            augmentation: what to do to training pictures, or None.
            seed: of the augmentation.
            epoch: the sampler's epoch, a shared scalar tensor.
        """
        ...


class FrameSample:
    """A single frame: the batch's ``image`` is (B, 3, H, W)."""

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
