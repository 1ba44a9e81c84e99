"""Valence and arousal: how pleasant and how active an expression is."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fervid.data.part_targets import AffectTarget
from fervid.models.network import Network
from fervid.schema.parts import AFFECT
from fervid.tasks.part_losses import AffectLoss
from fervid.tasks.parts import SinglePart, monitors


class ValenceArousal(SinglePart):
    """Estimates valence and arousal, both from -1 to 1 (:class:`fervid.data.part_targets.AffectTarget`).

    Args:
        network: maps inputs to two outputs.
        target: the target.
        loss: function that makes the loss module.
        **options: further arguments of :class:`fervid.tasks.task.Task`.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> outputs (B, 2), limited to -1 to 1 in answers.
    """

    shown = ("ccc", "rmse", "loss")
    monitors = monitors("ccc", "ccc_valence", "ccc_arousal", "pearson")

    def __init__(
        self,
        network: Network,
        target: AffectTarget,
        *,
        loss: Callable[[Any], nn.Module] = AffectLoss,
        **options: Any,
    ):
        super().__init__(network, target, losses={AFFECT: loss}, **options)

    @classmethod
    def make_target(cls) -> AffectTarget:
        return AffectTarget()
