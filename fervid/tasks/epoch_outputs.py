"""Outputs and targets of an epoch, from which scores are computed that are no means over batches."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class EpochOutputs(Metric):
    """Keeps the outputs and targets of an epoch, and the mean loss over its batches, weighted by their labels.

    Args:
        is_sharded: whether each rank of a distributed run sees only a part of the samples; if False, every rank sees
            all samples.
    """

    full_state_update = False
    outputs: list[Tensor]
    targets: list[Tensor]
    loss: Tensor
    weight: Tensor

    def __init__(self, *, is_sharded: bool = False):
        super().__init__(sync_on_compute=is_sharded)
        self.add_state("outputs", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")
        self.add_state("loss", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("weight", default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch without waiting for the GPU.

        Args:
            outputs: (B, K).
            targets: (B, D); NaN where unknown.
            loss: mean loss of the batch, a scalar.
        """
        # Cloned, since every tensor from a loader worker keeps a file open.
        self.outputs.append(outputs.detach().float())
        self.targets.append(targets.detach().clone())
        weight = (~targets.isnan()).any(dim=1).sum()
        self.loss += loss.detach() * weight
        self.weight += weight

    def compute(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Returns the loss, the outputs (N, K) and the targets (N, D)."""
        outputs, targets = (dim_zero_cat(values).cpu().numpy() for values in (self.outputs, self.targets))
        return (self.loss / self.weight).item(), outputs, targets
