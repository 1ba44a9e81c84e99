"""Action units: which facial muscles act, coded by the Facial Action Coding System."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fervid.data.part_targets import ActionUnitTarget
from fervid.models.network import Network
from fervid.schema.parts import UNITS
from fervid.tasks.part_losses import UnitLoss
from fervid.tasks.parts import SinglePart, monitors


class ActionUnits(SinglePart):
    """Detects which action units are present; several can be (:class:`fervid.data.part_targets.ActionUnitTarget`).

    Args:
        network: maps inputs to one logit for each unit.
        target: target with the units, in the same order.
        loss: function that makes the loss module from the number of training samples in which each unit is absent and
            present.
        **options: further arguments of :class:`fervid.tasks.task.Task`.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> logits (B, U).
    """

    shown = ("f1_units", "balanced_accuracy_units", "loss")
    monitors = monitors("f1_units", "balanced_accuracy_units")

    def __init__(
        self,
        network: Network,
        target: ActionUnitTarget,
        *,
        loss: Callable[[Any], nn.Module] = UnitLoss,
        **options: Any,
    ):
        super().__init__(network, target, losses={UNITS: loss}, **options)

    @classmethod
    def make_target(cls) -> ActionUnitTarget:
        return ActionUnitTarget()

    @classmethod
    def stored_target(cls, results: dict[str, Any]) -> ActionUnitTarget:
        return ActionUnitTarget(results["parts"][UNITS])
