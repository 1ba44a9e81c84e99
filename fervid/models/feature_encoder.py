"""Encoder of feature tables."""

import numpy as np
import torch
from torch import Tensor, nn

from fervid.models.encoder import Encoder
from fervid.models.sequences import valid_positions, with_padding


class Columns(Encoder):
    """The columns of a feature table, standardised with the mean and deviation of the training subset.

    Args:
        names: names of the F columns.

    Attributes:
        names: names of the columns.

    Shapes:
        (B, T, F), padded with NaN -> (B, T, F).
    """

    modality = "features"
    group = "feature_encoder"

    def __init__(self, names: list[str]):
        super().__init__(nn.ModuleDict({"standardise": _Standardise(len(names))}), ["standardise"])
        self.names = list(names)

    def prepare(self, x: Tensor) -> Tensor:
        return x

    def example(self) -> Tensor:
        return torch.zeros(1, 1, len(self.names), device=self.standardise.mean.device)

    @property
    def standardise(self) -> "_Standardise":
        """The only stage."""
        stage = self.network.get_submodule("standardise")
        assert isinstance(stage, _Standardise)
        return stage

    def fit(self, values: np.ndarray) -> None:
        """Sets mean and deviation to those of training rows, float32 (N, F); constant columns become 0."""
        stage, deviation = self.standardise, values.std(axis=0, dtype=np.float64)
        stage.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
        stage.deviation.copy_(torch.from_numpy(np.where(deviation > 1e-8, deviation, 1.0)))


class _Standardise(nn.Module):
    def __init__(self, count: int):
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    def forward(self, x: Tensor) -> Tensor:
        return with_padding((x - self.mean) / self.deviation, valid_positions(x))
