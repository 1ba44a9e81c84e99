"""Base of the tasks that consist of parts: valence and arousal, action units, and several at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from fervid.data.part_targets import ActionUnitTarget, AffectTarget, MultiTarget
from fervid.metrics.parts import MAIN_SCORES, MEASURES, mean_score, measure_parts
from fervid.metrics.scores import scores
from fervid.models.network import Network
from fervid.schema.manifest import SPLITS
from fervid.schema.parts import AFFECT, EMOTION, UNITS, Part
from fervid.schema.predictions import parts_table
from fervid.tasks.epoch_outputs import EpochOutputs
from fervid.tasks.task import Task

PartTarget = AffectTarget | ActionUnitTarget | MultiTarget


class PartsTask(Task):
    """Learns one or several parts (:class:`fervid.schema.parts.Part`), each from its own outputs of one head.

    Outputs of valence and arousal are learned as they are, and limited to the range of the labels in answers: a tanh
    would saturate with the concordance loss, which rewards spread. Action units and emotions are logits.

    Args:
        network: maps inputs to the outputs of all parts, next to each other.
        target: target with the same parts, in the same order.
        losses: for each part, a function that makes its loss module from the counts of its target.
        **options: further arguments of :class:`fervid.tasks.task.Task`.

    Attributes:
        parts: the parts, in the order of the outputs.
        confusion: confusion matrix of the part emotion, of the last finished epoch of each subset.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> outputs (B, K).
    """

    def __init__(
        self,
        network: Network,
        target: PartTarget,
        *,
        losses: Mapping[str, Callable[[Any], nn.Module]],
        **options: Any,
    ):
        super().__init__(network, target, **options)
        self.parts = target.parts
        members = target.members if isinstance(target, MultiTarget) else {target.name: target}
        self.losses = nn.ModuleDict({name: losses[name](member.counts) for name, member in members.items()})
        self.epoch_outputs = nn.ModuleDict(
            {f"{subset}_subset": EpochOutputs(is_sharded=subset == "train") for subset in SPLITS}
        )
        self.confusion: dict[str, np.ndarray] = {}

    def answers(self, outputs: Tensor) -> dict[str, Tensor]:
        return {part.name: _answer(part, each) for part, each in zip(self.parts, self._split(outputs), strict=True)}

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.stack(list(self.part_losses(outputs, targets).values())).sum()

    def part_losses(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Returns the loss of each part; 0 for a part of which no label of the batch is known."""
        found = {}
        for part, own, labels in zip(self.parts, self._split(outputs), self._split_targets(targets), strict=True):
            found[part.name] = self.losses[part.name](own, labels[:, 0].long() if part.name == EMOTION else labels)
        return found

    def recorded_outputs(self, outputs: Tensor) -> dict[str, Tensor]:
        """Returns the :meth:`answers`."""
        return self.answers(outputs)

    def count(self, subset: str, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        answers = torch.cat(list(self.answers(outputs.detach()).values()), dim=1)
        self.epoch_outputs[f"{subset}_subset"].update(answers, targets, loss)  # type: ignore[operator]

    def log_scores(self, subset: str) -> None:
        loss, outputs, targets = self.epoch_outputs[f"{subset}_subset"].compute()  # type: ignore[operator]
        self.epoch_outputs[f"{subset}_subset"].reset()  # type: ignore[operator]
        values, details = self._scores(subset, outputs, targets)
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            return  # validation after training, for the predictions: these scores are already in the curves
        curves = None if subset != "test" else False  # the test has a single value and thus no curve
        self.log("step", float(self.current_epoch + 1), logger=curves)
        logged = {f"{subset}/{name}": value for name, value in {"loss": loss, **values}.items()}
        for name, value in logged.items():
            self.log(name, value, prog_bar=name in ("val/loss", f"val/{self.shown[0]}"), logger=curves)
        if subset == "val":  # those of the training subset would only clutter TensorBoard
            for logger in self.trainer.loggers:
                logger.log_metrics(details, step=self.current_epoch + 1)
        self.scores[subset] = {**logged, **details}

    def _scores(
        self, subset: str, outputs: np.ndarray, targets: np.ndarray
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the scores of all parts, and those of single emotions and units such as ``val_recall/happy``."""
        values: dict[str, float] = {}
        details: dict[str, float] = {}
        for part, own, labels in zip(self.parts, self._split(outputs), self._split_targets(targets), strict=True):
            if part.name == EMOTION:
                size = len(part.names)
                cells = labels[:, 0].astype(int) * size + own.argmax(axis=1)
                found = self.confusion[subset] = np.bincount(cells, minlength=size**2).reshape(size, size)
                values |= scores(found).means()
                recalls = zip(part.names, scores(found).recall, strict=True)
                details |= {f"{subset}_recall/{name}": float(value) for name, value in recalls if value == value}
                continue
            measure = MEASURES[part.name]
            each = measure.scores(measure.statistics(labels, own).sum(axis=0), part.names)
            values |= {name: float(each[name]) for name in measure.shown.values()}
            if part.name == UNITS:
                f1 = {name: float(each[f"f1_{name}"]) for name in part.names}
                details |= {f"{subset}_f1/{name}": value for name, value in f1.items() if value == value}
        if len(self.parts) > 1:
            values["mean_score"] = mean_score(values)
        return values, details

    def predictions(self, samples: pd.DataFrame, recorded: dict[str, np.ndarray]) -> pd.DataFrame:
        return parts_table(samples, recorded, self.parts)

    def _split(self, outputs: Any) -> list[Any]:
        """Returns the outputs (B, ...) of each part."""
        return _columns(outputs, [len(part.names) for part in self.parts])

    def _split_targets(self, targets: Any) -> list[Any]:
        """Returns the targets (B, ...) of each part."""
        return _columns(targets, [len(part.labels) for part in self.parts])


class SinglePart(PartsTask):
    """A task with one part, which has the name of the task."""

    def measure(self, predictions: pd.DataFrame) -> dict[str, Any]:
        return measure_parts(predictions, self.parts[0].name, self.parts)


def monitors(*names: str) -> tuple[str, ...]:
    """Returns the scores of validation and training that can select the best epoch."""
    return tuple(f"{subset}/{name}" for subset in ("val", "train") for name in (*names, "loss"))


def main_scores(parts: Sequence[Part]) -> list[str]:
    """Returns the main score of each part."""
    return [MAIN_SCORES[part.name] for part in parts]


def _answer(part: Part, outputs: Tensor) -> Tensor:
    if part.name == AFFECT:
        return outputs.float().clamp(-1, 1)
    return outputs.float().softmax(dim=1) if part.name == EMOTION else outputs.float().sigmoid()


def _columns(values: Any, sizes: list[int]) -> list[Any]:
    """Splits the columns of a tensor or an array."""
    ends = np.cumsum(sizes).tolist()
    return [values[:, end - size : end] for end, size in zip(ends, sizes, strict=True)]
