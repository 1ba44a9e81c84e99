"""An epoch's scores, gathered batch by batch."""

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from fervid.metrics.scores import scores

HELD = 256  # batches: counting one by one costs a small network a tenth of its step


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
        values = {"loss": self.loss.compute().item(), **scores(confusion).means()}
        self.loss.reset()
        self.confusion.reset()
        return values, confusion
