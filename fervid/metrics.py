"""Scores, all of them read off one confusion matrix."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from fervid.errors import InputError

HELD = 256  # batches: counting one by one costs a small network a tenth of its step


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Reads the scores off a confusion matrix.

    Args:
        confusion: counts (num_classes, num_classes), a row a true emotion, a column a predicted one.

    Returns:
        ``accuracy`` (WAR, weighted average recall: share of all frames that are right), ``uar`` (unweighted average
        recall: mean of the recalls of the emotions) and ``f1`` (mean of the F1 scores of the emotions). Emotions
        that do not occur are left out of the means; NaN for an empty matrix.
    """
    confusion = np.asarray(confusion, dtype=float)
    present = confusion.sum(axis=1) > 0
    if not present.any():
        return {"accuracy": float("nan"), "uar": float("nan"), "f1": float("nan")}
    right = np.diag(confusion)
    f1 = 2 * right[present] / (confusion.sum(axis=0) + confusion.sum(axis=1))[present]
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        "uar": float(recalls(confusion)[present].mean()),
        "f1": float(f1.mean()),
    }


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each emotion, shape (num_classes,); NaN where an emotion does not occur."""
    confusion = np.asarray(confusion, dtype=float)
    with np.errstate(invalid="ignore"):
        return np.diag(confusion) / confusion.sum(axis=1)


class EpochScores(nn.Module):
    """Gathers an epoch's loss and confusion matrix, computed once at its end.

    The loss is the mean of the batches' losses, each counted by its frames.

    Args:
        num_classes: how many emotions.
        shared_out: whether each rank of a distributed run sees its own share of the frames; else it sees all.
    """

    def __init__(self, num_classes: int, *, shared_out: bool = False):
        super().__init__()
        # By itself it would leave out a loss that is no number, which is to be seen.
        self.loss = MeanMetric(nan_strategy=float("inf"), sync_on_compute=shared_out)
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False, sync_on_compute=shared_out)
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Adds a batch: logits (B, num_classes), labels (B,), its mean loss; a GPU is not waited for."""
        # A copy of the labels: as they come from a worker each batch of them keeps a file open.
        self._held.append((logits.detach(), labels.clone(), loss.detach()))
        if len(self._held) == HELD:
            self._count()

    def _count(self) -> None:
        if not self._held:
            return
        logits, labels, losses = zip(*self._held, strict=True)
        self._held = []
        sizes = torch.tensor([len(batch) for batch in labels], dtype=torch.float32, device=losses[0].device)
        self.loss.update(torch.stack(losses), weight=sizes)
        self.confusion.update(torch.cat(logits), torch.cat(labels))

    def compute(self) -> tuple[dict[str, float], np.ndarray]:
        """Scores with the loss, and the confusion matrix (num_classes, num_classes); begins anew."""
        self._count()
        confusion = self.confusion.compute().cpu().numpy()
        values = {"loss": self.loss.compute().item(), **scores(confusion)}
        self.loss.reset()
        self.confusion.reset()
        return values, confusion


class EmotionLoss(nn.Module):
    """Cross entropy with its usual variations; all of them off is plain cross entropy.

    Args:
        class_counts: training frames of each class, shape (num_classes,); needed for balanced weights only.
        class_weights: ``none``, or ``balanced``: each class weighs as much as any other, N / (num_classes * count).
        label_smoothing: share of the target given to all classes alike.
        focal_gamma: above 0 the loss of a frame counts (1 - p)^gamma, p the probability of its true class (Lin et al.
            2017, equation 4): what is already right weighs less.

    Raises:
        InputError: if a number is out of range.
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
            raise InputError(f"loss.class_weights={class_weights} is unknown: choose none or balanced.")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"loss.label_smoothing={label_smoothing} is no share: give a number from 0 to below 1.")
        if focal_gamma < 0:
            raise InputError(f"loss.focal_gamma={focal_gamma} is negative: give 0 or more.")
        self.weight: Tensor | None
        weight = None
        if class_weights == "balanced":
            counts = torch.as_tensor(np.asarray(class_counts), dtype=torch.float32)
            weight = counts.sum() / (len(counts) * counts)
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, num_classes) against labels (B,)."""
        if not self.focal_gamma:
            return F.cross_entropy(logits, labels, weight=self.weight, label_smoothing=self.label_smoothing)
        losses = F.cross_entropy(
            logits, labels, weight=self.weight, label_smoothing=self.label_smoothing, reduction="none"
        )
        right = logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
        norm = len(labels) if self.weight is None else self.weight[labels].sum()
        # At 0 a power below 1 has no slope.
        return ((1 - right).clamp_min(1e-6) ** self.focal_gamma * losses).sum() / norm
