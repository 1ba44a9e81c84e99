"""The network that is trained: a backbone, a head, and the line between what stands still and what learns."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from fervid.data.frames import Batch
from fervid.metrics.scores import scores
from fervid.models.backbone import Backbone
from fervid.models.heads import Head
from fervid.schema.errors import InputError, first_line
from fervid.schema.manifest import SPLITS
from fervid.tasks.epoch_scores import EpochScores
from fervid.tasks.losses import EmotionLoss

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


class EmotionClassifier(pl.LightningModule):
    """Tells the emotion of a face.

    The backbone's stages before :attr:`first_stage` are the frozen prefix: they run in ``eval()`` mode without
    gradients, so that neither their weights nor their BatchNorm statistics move. Their parameters keep
    ``requires_grad``: distributed training stays in step when they learn later.

    Args:
        backbone: pictures -> feature maps.
        head: feature maps -> logits.
        class_names: the emotions, in the order of the logits.
        optimizer: makes an optimizer of parameter groups; the groups are named ``backbone`` and ``head``.
        loss: of logits and labels.

    Attributes:
        first_stage: number of the first backbone stage that learns; ``len(backbone.stages)``: only the head does.
        scores: logged names and values of the last finished epoch of ``train``, ``val`` and ``test``.
        confusion: its confusion matrix, likewise.

    Shapes:
        (B, 3, H, W) in [0, 1] -> logits (B, num_classes).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        class_names: list[str],
        *,
        optimizer: OptimizerFactory = torch.optim.Adam,
        loss: nn.Module | None = None,
    ):
        super().__init__()
        self.backbone, self.head, self.class_names = backbone, head, list(class_names)
        self.optimizer = optimizer
        self.loss: nn.Module = EmotionLoss() if loss is None else loss
        self.epoch_scores = nn.ModuleDict(
            {f"{side}_side": EpochScores(len(class_names), shared_out=side == "train") for side in SPLITS}
        )
        self.scores: dict[str, dict[str, float]] = {}
        self.confusion: dict[str, np.ndarray] = {}
        self.first_stage = 0
        self.to(memory_format=torch.channels_last)

    def learn_from(self, first_stage: int) -> None:
        """Freezes the stages before number ``first_stage`` and lets the others learn; idempotent."""
        self.first_stage = first_stage
        self.train(self.training)

    def train(self, mode: bool = True) -> "EmotionClassifier":
        """Sets the learning part to training mode; the frozen prefix, and BatchNorm that stands still, stay in eval."""
        super().train(mode)
        if mode:
            for stage in self.backbone.stage_modules(0, self.first_stage):
                stage.eval()
            if self.backbone.batchnorm_stands_still:
                for module in self.backbone.modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()
        return self

    def frozen_prefix(self, images: Tensor) -> Tensor:
        """What stands still: (B, 3, H, W) -> the input of the first learning stage, or of the head's layers."""
        with torch.no_grad():
            features = self.backbone(images, stop=self.first_stage) if self.first_stage else images
            return self.head.reduce(features) if self.first_stage == len(self.backbone.stages) else features

    def learning_part(self, features: Tensor) -> Tensor:
        """What learns: the output of :meth:`frozen_prefix` -> logits (B, num_classes)."""
        if self.first_stage == len(self.backbone.stages):
            return self.head.layers(features)
        return self.head(self.backbone(features, start=self.first_stage))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes) of pictures (B, 3, H, W) in [0, 1]."""
        return self.learning_part(self.frozen_prefix(images))

    def learning_parameters(self, first_stage: int | None = None) -> list[nn.Parameter]:
        """The parameters that move when stages from number ``first_stage`` on learn; None: at present."""
        stages = self.backbone.stage_modules(self.first_stage if first_stage is None else first_stage)
        return [*(p for stage in stages for p in stage.parameters()), *self.head.parameters()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer with the groups ``backbone`` and ``head``, from the first step to the last."""
        groups = [
            {"params": list(self.backbone.parameters()), "name": "backbone"},
            {"params": list(self.head.parameters()), "name": "head"},
        ]
        try:
            return self.optimizer([group for group in groups if group["params"]])
        except (TypeError, ValueError) as error:
            raise InputError(f"the optimizer does not take its settings: {first_line(error)}.") from error

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")[0]

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Gives the ``index`` (B,) and ``probabilities`` (B, num_classes) of a batch to the callbacks."""
        _, logits = self._step(batch, "val")
        return {"index": batch["index"], "probabilities": logits.float().softmax(dim=1)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """As :meth:`validation_step`."""
        _, logits = self._step(batch, "test")
        return {"index": batch["index"], "probabilities": logits.float().softmax(dim=1)}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """As :meth:`validation_step`, without scores."""
        logits = self._logits(batch)
        return {"index": batch["index"], "probabilities": logits.float().softmax(dim=1)}

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def _logits(self, batch: Batch) -> Tensor:
        return self.learning_part(batch["features"] if "features" in batch else self.frozen_prefix(batch["image"]))

    def _step(self, batch: Batch, side: str) -> tuple[Tensor, Tensor]:
        logits = self._logits(batch)
        loss = self.loss(logits, batch["label"])
        self.epoch_scores[f"{side}_side"].update(logits, batch["label"], loss)  # type: ignore[operator]
        return loss, logits

    def _log_epoch(self, side: str) -> None:
        values, self.confusion[side] = self.epoch_scores[f"{side}_side"].compute()  # type: ignore[operator]
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            return  # once more after training, for the predictions: the curves have these scores already
        by_class = dict(zip(self.class_names, scores(self.confusion[side]).recall, strict=True))
        # TensorBoard counts in epochs: steps of different batch sizes do not compare. The test is no curve.
        curves = None if side != "test" else False  # None: to the loggers there are
        self.log("step", float(self.current_epoch), logger=curves)
        logged = {f"{side}/{name}": value for name, value in values.items()}
        for name, value in logged.items():
            self.log(name, value, prog_bar=name in ("val/loss", "val/uar"), logger=curves)
        by_emotion = {f"{side}_recall/{name}": float(value) for name, value in by_class.items() if value == value}
        if side == "val":  # of training they would be a page of curves that nobody looks at
            for logger in self.trainer.loggers:  # self.log takes 0.4 ms each
                logger.log_metrics(by_emotion, step=self.current_epoch)
        self.scores[side] = {**logged, **by_emotion}
