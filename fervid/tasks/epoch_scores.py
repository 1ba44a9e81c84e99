"""Scores of an epoch, accumulated batch by batch."""

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from fervid.metrics.scores import scores

MAX_PENDING_BATCHES = 256  # updating the metrics after every batch takes a tenth of a small network's step


class EpochScores(nn.Module):
    """Accumulates the loss and the confusion matrix of an epoch.

    The loss is the mean over batches, weighted by their number of frames.

    Args:
        num_classes: number of emotions.
        is_sharded: whether each rank of a distributed run sees only a part of the frames; if False, every rank sees
            all frames.
    """

    def __init__(self, num_classes: int, *, is_sharded: bool = False):
        super().__init__()
        # By default MeanMetric ignores NaN losses, which would hide that a network has diverged.
        self.loss = MeanMetric(nan_strategy=float("inf"), sync_on_compute=is_sharded)
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False, sync_on_compute=is_sharded)
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Adds a batch without waiting for the GPU.

        Args:
            logits: (B, num_classes).
            labels: int64 (B,).
            loss: mean loss of the batch, a scalar.
        """
        # The labels are cloned, since every tensor from a loader worker keeps a file open.
        self._pending.append((logits.detach(), labels.clone(), loss.detach()))
        if len(self._pending) == MAX_PENDING_BATCHES:
            self._count()

    def _count(self) -> None:
        if not self._pending:
            return
        logits, labels, losses = zip(*self._pending, strict=True)
        self._pending = []
        sizes = torch.tensor([len(batch) for batch in labels], dtype=torch.float32, device=losses[0].device)
        self.loss.update(torch.stack(losses), weight=sizes)
        self.confusion.update(torch.cat(logits), torch.cat(labels))

    def compute(self) -> tuple[dict[str, float], np.ndarray]:
        """Returns and resets the scores, including the loss, and the confusion matrix (num_classes, num_classes)."""
        self._count()
        confusion = self.confusion.compute().cpu().numpy()
        values = {"loss": self.loss.compute().item(), **scores(confusion).means()}
        self.loss.reset()
        self.confusion.reset()
        return values, confusion
