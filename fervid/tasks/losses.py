"""Classification losses."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.errors import InputError


class EmotionLoss(nn.Module):
    """Cross entropy with optional class weights, label smoothing and focal weighting; by default all are off.

    Args:
        class_counts: number of training frames per class, shape (num_classes,); only needed for balanced weights.
        class_weights: ``none``, or ``balanced`` to weight each class by N / (num_classes * count), so that all classes
            contribute equally.
        label_smoothing: fraction of the target that is distributed uniformly over all classes.
        focal_gamma: if above 0, weight each frame by (1 - p)^gamma, where p is the probability of its true class. This
            reduces the weight of frames that are already classified correctly. Source: Lin et al. 2017, equation 4.

    Raises:
        InputError: if a setting is unknown or out of range.

    Examples:
        >>> import torch
        >>> loss = EmotionLoss([900, 100], class_weights="balanced", label_smoothing=0.1)
        >>> [round(weight, 2) for weight in loss.weight.tolist()]
        [0.56, 5.0]
        >>> loss(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])).item() > 0
        True
    """

    def __init__(
        self,
        class_counts: Any = None,
        *,
        class_weights: str = "none",
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ):
        super().__init__()
        if class_weights not in ("none", "balanced"):
            raise InputError(f"task.loss.class_weights={class_weights} is unknown: choose none or balanced.")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"task.loss.label_smoothing={label_smoothing} is out of range: give 0 to below 1.")
        if focal_gamma < 0:
            raise InputError(f"task.loss.focal_gamma={focal_gamma} is negative: give 0 or more.")
        self.weight: Tensor | None
        weight = None
        if class_weights == "balanced":
            counts = torch.as_tensor(np.asarray(class_counts), dtype=torch.float32)
            weight = counts.sum() / (len(counts) * counts)
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean loss of logits (B, num_classes) for labels (B,).

        Without focal weighting, labels may also be distributions over the classes, (B, num_classes).
        """
        if not self.focal_gamma:
            return F.cross_entropy(logits, labels, weight=self.weight, label_smoothing=self.label_smoothing)
        losses = F.cross_entropy(
            logits, labels, weight=self.weight, label_smoothing=self.label_smoothing, reduction="none"
        )
        true_probability = logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
        norm = len(labels) if self.weight is None else self.weight[labels].sum()
        # Clamped, since the gradient of a power below 1 is infinite at 0.
        return ((1 - true_probability).clamp_min(1e-6) ** self.focal_gamma * losses).sum() / norm
