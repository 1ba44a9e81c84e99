"""Classification: one of several emotions for each sample."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from fervid.data.targets import ClassTarget
from fervid.metrics.aggregation import measure
from fervid.metrics.scores import scores
from fervid.models.network import Network
from fervid.schema.manifest import SPLITS
from fervid.schema.parts import EMOTION, Part
from fervid.schema.predictions import predictions_table
from fervid.tasks.epoch_scores import EpochScores
from fervid.tasks.losses import EmotionLoss
from fervid.tasks.task import Task


class EmotionClassifier(Task):
    """Classifies the emotion of a sample.

    Args:
        network: maps inputs to logits.
        target: target whose classes are those of the logits, in the same order.
        loss: function that makes the loss module from the number of training samples per class.
        **options: further arguments of :class:`fervid.tasks.task.Task`.

    Attributes:
        class_names: the classes, in the order of the logits.
        confusion: confusion matrix of the last finished epoch of each subset ``train``, ``val`` and ``test``.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> logits (B, num_classes).
    """

    shown = ("uar", "accuracy", "loss")
    monitors = tuple(f"{subset}/{score}" for subset in ("val", "train") for score in ("uar", "accuracy", "f1", "loss"))

    def __init__(
        self,
        network: Network,
        target: ClassTarget,
        *,
        loss: Callable[[Any], nn.Module] = EmotionLoss,
        **options: Any,
    ):
        super().__init__(network, target, **options)
        self.class_names = target.class_names
        self.parts = [Part(EMOTION, tuple(target.class_names))]
        self.loss = loss(target.counts)
        self.epoch_scores = nn.ModuleDict(
            {f"{subset}_subset": EpochScores(target.size, is_sharded=subset == "train") for subset in SPLITS}
        )
        self.confusion: dict[str, np.ndarray] = {}

    @classmethod
    def make_target(cls) -> ClassTarget:
        return ClassTarget()

    @classmethod
    def stored_target(cls, results: dict[str, Any]) -> ClassTarget:
        return ClassTarget(results["class_names"])

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets)

    def answers(self, outputs: Tensor) -> dict[str, Tensor]:
        return {EMOTION: outputs.float().softmax(dim=1)}

    def recorded_outputs(self, outputs: Tensor) -> dict[str, Tensor]:
        """Returns the ``probabilities`` (B, num_classes)."""
        return {"probabilities": outputs.float().softmax(dim=1)}

    def count(self, subset: str, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        self.epoch_scores[f"{subset}_subset"].update(outputs, targets, loss)  # type: ignore[operator]

    def log_scores(self, subset: str) -> None:
        values, self.confusion[subset] = self.epoch_scores[f"{subset}_subset"].compute()  # type: ignore[operator]
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            return  # validation after training, for the predictions: these scores are already in the curves
        by_class = dict(zip(self.class_names, scores(self.confusion[subset]).recall, strict=True))
        # TensorBoard's x-axis is the epoch (from 1), since steps of different batch sizes are not comparable. The test
        # has a single value and thus no curve.
        curves = None if subset != "test" else False  # None: all loggers of the trainer
        self.log("step", float(self.current_epoch + 1), logger=curves)
        logged = {f"{subset}/{name}": value for name, value in values.items()}
        for name, value in logged.items():
            self.log(name, value, prog_bar=name in ("val/loss", "val/uar"), logger=curves)
        by_emotion = {f"{subset}_recall/{name}": float(value) for name, value in by_class.items() if value == value}
        if subset == "val":  # recall on the training subset would only clutter TensorBoard
            for logger in self.trainer.loggers:  # directly, since each self.log takes 0.4 ms
                logger.log_metrics(by_emotion, step=self.current_epoch + 1)
        self.scores[subset] = {**logged, **by_emotion}

    def predictions(self, samples: pd.DataFrame, recorded: dict[str, np.ndarray]) -> pd.DataFrame:
        return predictions_table(samples, recorded["probabilities"], self.class_names, target=self.target.name)

    def measure(self, predictions: pd.DataFrame) -> dict[str, Any]:
        return {**measure(predictions, self.class_names)}
