"""Multi-task learning: emotion, valence and arousal, and action units, with one head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from fervid.data.part_targets import MEMBERS, MultiTarget
from fervid.errors import InputError
from fervid.metrics.parts import measure_parts
from fervid.models.network import Network
from fervid.schema.parts import AFFECT, EMOTION, MULTI, UNITS, parts_of
from fervid.tasks.losses import EmotionLoss
from fervid.tasks.part_losses import AffectLoss, UnitLoss
from fervid.tasks.parts import PartsTask, main_scores, monitors

LOSSES: dict[str, Callable[[Any], nn.Module]] = {EMOTION: EmotionLoss, AFFECT: AffectLoss, UNITS: UnitLoss}
WEIGHTINGS = ("fixed", "uncertainty")


class MultiTask(PartsTask):
    """Learns several parts at once. A sample counts for the parts of which it has labels.

    Args:
        network: maps inputs to the outputs of all parts.
        target: target with the same parts, in the same order.
        loss: for each part, a function that makes its loss module from the counts of its target.
        weighting: ``fixed``, to add the losses of the parts times ``weights``; or ``uncertainty``, to learn a variance
            s^2 of each part and add loss / s^2 + log s (Kendall, Gal & Cipolla 2018, equation 10).
        weights: weight of the loss of each part, for ``fixed``; 1 for a part that is not named.
        **options: further arguments of :class:`fervid.tasks.task.Task`.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> outputs (B, K).

    Raises:
        InputError: if the weighting is unknown or a weight is invalid.
    """

    monitors = monitors(
        *("mean_score", "uar", "accuracy", "f1", "ccc", "ccc_valence", "ccc_arousal", "pearson"),
        *("f1_units", "balanced_accuracy_units"),
    )

    def __init__(
        self,
        network: Network,
        target: MultiTarget,
        *,
        loss: Mapping[str, Callable[[Any], nn.Module]] | None = None,
        weighting: str = "fixed",
        weights: Mapping[str, float] | None = None,
        **options: Any,
    ):
        super().__init__(network, target, losses={**LOSSES, **(loss or {})}, **options)
        if weighting not in WEIGHTINGS:
            raise InputError(f"task.weighting={weighting} is unknown: choose {' or '.join(WEIGHTINGS)}.")
        given = dict(weights or {})
        for name, weight in given.items():
            if name not in LOSSES or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise InputError(
                    f"task.weights.{name}={weight} is invalid: give a number of 0 or more for {', '.join(LOSSES)}."
                )
        names = [part.name for part in self.parts]
        if weighting == "fixed" and not any(given.get(name, 1.0) for name in names):
            raise InputError(f"task.weights are 0 for all parts: give a weight above 0 for {' or '.join(names)}.")
        self.weights = [float(given.get(name, 1.0)) for name in names]
        # The logarithm of the variance; the losses are first added as they are.
        self.log_variances = nn.Parameter(torch.zeros(len(names))) if weighting == "uncertainty" else None
        self.shown = ("mean_score", *main_scores(self.parts), "loss")

    @classmethod
    def make_target(cls, parts: Sequence[str] = tuple(LOSSES)) -> MultiTarget:
        """Returns the unfitted target.

        Args:
            parts: the parts to learn: ``emotion``, ``valence_arousal`` and ``action_units``, or some of them.

        Raises:
            InputError: if a part is unknown or given twice, or there are fewer than two.
        """
        names = list(parts) if isinstance(parts, Sequence) and not isinstance(parts, str) else [parts]
        if not all(name in MEMBERS for name in names) or len(set(names)) < len(names) or len(names) < 2:
            raise InputError(
                f"task.target.parts={names} is invalid: give at least two of {', '.join(MEMBERS)}; to learn one, "
                f"choose task=classification, task={AFFECT} or task={UNITS}."
            )
        return MultiTarget([MEMBERS[name]() for name in names])

    @classmethod
    def stored_target(cls, results: dict[str, Any]) -> MultiTarget:
        return MultiTarget(
            [MEMBERS[AFFECT]() if part.name == AFFECT else MEMBERS[part.name](part.names) for part in parts_of(results)]
        )

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = torch.stack(list(self.part_losses(outputs, targets).values()))
        if self.log_variances is None:
            return (losses * losses.new_tensor(self.weights)).sum()
        # A variance must not change with a batch that has no label of its part.
        has_labels = torch.stack([~labels.isnan().all() for labels in self._split_targets(targets)])
        weighted = torch.exp(-self.log_variances) * losses + self.log_variances / 2
        return (weighted * has_labels).sum()

    def loss_parameters(self) -> list[nn.Parameter]:
        return [] if self.log_variances is None else [self.log_variances]

    def log_scores(self, subset: str) -> None:
        """Like :meth:`PartsTask.log_scores`; with ``uncertainty`` also the weight of each loss, after training."""
        super().log_scores(subset)
        if subset == "train" and self.log_variances is not None:
            weights = torch.exp(-self.log_variances.detach()).tolist()
            learned = {f"train/weight_{part.name}": value for part, value in zip(self.parts, weights, strict=True)}
            self.log_dict(learned)
            self.scores[subset] |= learned

    def measure(self, predictions: pd.DataFrame) -> dict[str, Any]:
        return measure_parts(predictions, MULTI, self.parts)
