"""Soft labels: learns the distribution of several people's votes on each sample."""

from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from fervid.data.inputs import Batch
from fervid.data.seeds import draw_seed
from fervid.data.targets import VoteTarget
from fervid.errors import InputError
from fervid.models.network import Network
from fervid.schema.manifest import SPLITS
from fervid.tasks.classification import EmotionClassifier

MODES = ("cross_entropy", "probability")
LABELS = 1  # last key of the seed of the drawn labels, which parts it from those of order and augmentation


class SoftLabels(EmotionClassifier):
    """Classifies the emotion of a face, learned from the votes of several people on each sample.

    The target is the distribution of the votes over the classes (:func:`fervid.schema.votes.distributions`). Two of the
    four schemes of Barsoum et al. 2016 are implemented; ``task=classification`` is a third, majority voting:

    - ``cross_entropy``: cross entropy between the distribution of the votes and the prediction.
    - ``probability``: in every epoch, a label is drawn from the distribution for each training sample. It depends only
      on seed, epoch and sample, so that a resumed run draws the same labels. Validation and test use the distribution.

    Scores are those of a classification of the column ``emotion``. In addition, ``cross_entropy`` and
    ``kl_divergence`` (in nats) compare predictions with the votes. The run is one of the task classification, so that
    all commands work with it.

    Args:
        network: maps inputs to logits.
        target: target whose classes are those of the logits, in the same order.
        vote_mode: ``cross_entropy`` or ``probability``.
        **options: further arguments of :class:`fervid.tasks.classification.EmotionClassifier`.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> logits (B, num_classes).

    Raises:
        InputError: if the mode is unknown, or the loss needs a single label per sample.
    """

    def __init__(self, network: Network, target: VoteTarget, *, vote_mode: str = "cross_entropy", **options: Any):
        super().__init__(network, target, **options)
        if vote_mode not in MODES:
            raise InputError(f"task.vote_mode={vote_mode} is unknown: choose {' or '.join(MODES)}.")
        if getattr(self.loss, "focal_gamma", 0):
            raise InputError(
                f"task.loss.focal_gamma={self.loss.focal_gamma} needs a single label per sample: use "
                "task=classification, or leave it out."
            )
        self.vote_mode = vote_mode
        self.vote_scores = nn.ModuleDict(
            {f"{subset}_subset": VoteScores(is_sharded=subset == "train") for subset in SPLITS}
        )

    @classmethod
    def make_target(cls) -> VoteTarget:
        return VoteTarget()

    @classmethod
    def stored_target(cls, results: dict[str, Any]) -> VoteTarget:
        return VoteTarget(results["class_names"])

    def on_train_epoch_start(self) -> None:
        if self.vote_mode == "probability":
            datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            # Drawn for all samples, so that a label depends neither on the batch nor on the number of ranks.
            generator = torch.Generator().manual_seed(draw_seed(datamodule.seed, self.current_epoch, 0, LABELS))
            self._draws = torch.rand(len(datamodule.samples), generator=generator).to(self.device)

    def log_scores(self, subset: str) -> None:
        super().log_scores(subset)
        values = self.vote_scores[f"{subset}_subset"].compute()  # type: ignore[operator]
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            return
        logged = {f"{subset}/{name}": value for name, value in values.items()}
        for name, value in logged.items():
            self.log(name, value, logger=None if subset != "test" else False)
        self.scores[subset] |= logged

    def learned_targets(self, batch: Batch, subset: str) -> Tensor:
        distribution = batch[VoteTarget.entry]
        is_drawn = subset == "train" and self.vote_mode == "probability"
        return draw(distribution, self._draws[batch["index"]]) if is_drawn else distribution

    def count_batch(self, subset: str, outputs: Tensor, batch: Batch, loss: Tensor) -> None:
        super().count_batch(subset, outputs, batch, loss)
        self.vote_scores[f"{subset}_subset"].update(outputs, batch[VoteTarget.entry])  # type: ignore[operator]


class VoteScores(nn.Module):
    """Accumulates the cross entropy and the Kullback-Leibler divergence of an epoch, means over samples in nats.

    Args:
        is_sharded: whether each rank of a distributed run sees only a part of the samples.
    """

    def __init__(self, *, is_sharded: bool = False):
        super().__init__()
        self.cross_entropy = MeanMetric(nan_strategy=float("inf"), sync_on_compute=is_sharded)
        self.entropy = MeanMetric(sync_on_compute=is_sharded)

    def update(self, logits: Tensor, distribution: Tensor) -> None:
        """Adds a batch: logits and distribution, (B, num_classes) each."""
        outputs = logits.detach().float()
        self.cross_entropy.update(F.cross_entropy(outputs, distribution, reduction="none"))
        self.entropy.update(-torch.special.xlogy(distribution, distribution).sum(dim=1))

    def compute(self) -> dict[str, float]:
        """Returns and resets ``cross_entropy`` and ``kl_divergence``."""
        cross_entropy, entropy = self.cross_entropy.compute().item(), self.entropy.compute().item()
        self.cross_entropy.reset()
        self.entropy.reset()
        return {"cross_entropy": cross_entropy, "kl_divergence": cross_entropy - entropy}


def draw(distribution: Tensor, uniform: Tensor) -> Tensor:
    """Draws a label from each distribution.

    Args:
        distribution: probabilities (B, num_classes).
        uniform: numbers drawn uniformly from [0, 1), shape (B,).

    Returns:
        Labels with a probability above 0, int64 (B,).
    """
    cumulative = distribution.cumsum(dim=1)
    # Below the last value, which may differ from 1 by rounding.
    threshold = uniform.clamp_max(1 - 1e-6)[:, None] * cumulative[:, -1:]
    return (cumulative <= threshold).sum(dim=1)
