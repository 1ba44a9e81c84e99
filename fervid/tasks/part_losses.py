"""Losses of valence and arousal and of action units; unknown labels (NaN) do not count."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.errors import InputError

EPSILON = 1e-8  # keeps the concordance defined if predictions and labels are constant and equal


class AffectLoss(nn.Module):
    """Loss of valence and arousal.

    Args:
        counts: not used; every loss is given the counts of its target.
        measure: ``ccc``, 1 minus the mean concordance correlation coefficient over the batch (Lin 1989), which is what
            the scores measure but needs batches of different labels; or ``mse``, the mean squared error.

    Raises:
        InputError: if the measure is unknown.

    Examples:
        >>> import torch
        >>> labels = torch.tensor([[0.5, 0.1], [-0.5, float("nan")], [0.0, -0.1]])
        >>> loss = AffectLoss()(labels.nan_to_num(0.7), labels)
        >>> print(f"{loss.item():.3f}")  # predictions equal the known labels
        0.000
    """

    def __init__(self, counts: Any = None, *, measure: str = "ccc"):
        super().__init__()
        if measure not in ("ccc", "mse"):
            raise InputError(f"the loss of valence and arousal measure={measure} is unknown: choose ccc or mse.")
        self.measure = measure

    def forward(self, values: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss of predictions (B, 2) for labels (B, 2); 0 if no label is known."""
        known = ~labels.isnan()
        x, y = values.float() * known, labels.nan_to_num(0.0)
        if self.measure == "mse":
            return ((x - y) ** 2).sum() / known.sum().clamp_min(1)
        count = known.sum(dim=0).clamp_min(1)
        x_mean, y_mean = x.sum(dim=0) / count, y.sum(dim=0) / count
        x_rest, y_rest = (x - x_mean) * known, (y - y_mean) * known
        covariance = (x_rest * y_rest).sum(dim=0) / count
        spread = (x_rest**2 + y_rest**2).sum(dim=0) / count + (x_mean - y_mean) ** 2
        concordance = (2 * covariance + EPSILON) / (spread + EPSILON)
        has_labels = known.any(dim=0)
        return ((1 - concordance) * has_labels).sum() / has_labels.sum().clamp_min(1)


class UnitLoss(nn.Module):
    """Binary cross entropy of action units, the mean over all known labels.

    Args:
        counts: number of training samples in which each of U units is absent and present, (U, 2); only needed for
            balanced weights.
        positive_weights: ``none``, or ``balanced`` to weight the samples in which a unit is present by the number of
            those in which it is absent divided by the number of those in which it is present.

    Raises:
        InputError: if the setting is unknown.
    """

    def __init__(self, counts: Any = None, *, positive_weights: str = "none"):
        super().__init__()
        if positive_weights not in ("none", "balanced"):
            raise InputError(
                f"the loss of action units positive_weights={positive_weights} is unknown: choose none or balanced."
            )
        self.weight: Tensor | None
        weight = None
        if positive_weights == "balanced":
            absent, present = np.asarray(counts, dtype=float).T
            weight = torch.tensor(absent / present, dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss of logits (B, U) for labels (B, U); 0 if no label is known."""
        known = ~labels.isnan()
        losses = F.binary_cross_entropy_with_logits(
            logits.float(), labels.nan_to_num(0.0), pos_weight=self.weight, reduction="none"
        )
        return (losses * known).sum() / known.sum().clamp_min(1)
