"""Linear probe: logistic regression on the features of the frozen backbone, alone or before fine-tuning."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from fervid.callbacks.finetune import FreezeThenFineTune, Phase
from fervid.data.datasets import CachedFeatures
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.models.lora import ADDITION
from fervid.tasks.task import Task

log = logging.getLogger(__name__)


class LinearProbe(FreezeThenFineTune):
    """Fits a linear head to the features of the frozen backbone by logistic regression.

    The features are standardised, and scikit-learn's L-BFGS finds the optimum, which gradient descent on the same head
    would approach in many epochs. The inverse regularisation strength with the lowest validation loss is chosen: in
    small corpora, the UAR of a few subjects changes too much by chance. The standardisation is folded into the head, so
    that the result is an ordinary network. One epoch without a change of the weights then records its scores.

    Further phases fine-tune the network, starting from the head of the probe (LP-FT: Kumar et al., Fine-Tuning can
    Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022).

    Args:
        strengths: inverse regularisation strengths C to choose from; smaller values regularise more.
        class_weight: None, or ``balanced`` to weight classes by their inverse frequency.
        phases: the phases after the probe, see :class:`FreezeThenFineTune`.
        monitor: name of a logged score. Without further phases, it is only recorded.
        patience_steps, select, cache_gb, folder: see :class:`FreezeThenFineTune`.
        scheduler: see :class:`FreezeThenFineTune`; must be None without further phases.

    Attributes:
        chosen: the chosen ``strength``, and validation ``loss`` and ``uar`` of every strength in ``scores``.

    Raises:
        InputError: if there is a scheduler, the head is not a single linear layer, or the features cannot be cached.
    """

    def __init__(
        self,
        strengths: Sequence[float] = (0.0001, 0.001, 0.01, 0.1, 1.0),
        *,
        class_weight: str | None = None,
        phases: Sequence[Phase | dict[str, Any]] = (),
        monitor: str = "val/uar",
        patience_steps: int = 0,
        select: str = "best",
        cache_gb: float = 8.0,
        folder: str | Path | None = None,
        scheduler: Any = None,
    ):
        if scheduler is not None and not phases:
            raise InputError("finetune=linear_probe has no optimizer steps to schedule: give scheduler=none.")
        if not strengths or min(strengths) <= 0:
            raise InputError(f"finetune.strengths={list(strengths)} is out of range: give numbers above 0.")
        if class_weight not in (None, "balanced"):
            raise InputError(f"finetune.class_weight={class_weight} is unknown: give null or balanced.")
        super().__init__(
            [Phase("probe", 1, "head"), *phases],
            monitor=monitor,
            patience_steps=patience_steps,
            select=select,
            scheduler=scheduler,
            cache_gb=cache_gb,
            folder=folder,
        )
        self.strengths, self.class_weight = list(strengths), class_weight
        self.chosen: dict[str, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Task) -> None:
        if self.phase_number == 0:
            self._fit(trainer, pl_module)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Task, *_: Any) -> None:
        """Scores the probe without dropout, which would disturb it: the features are not centred."""
        if self.phase_number == 0:
            pl_module.head.eval()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Task) -> None:
        pl_module.head.train()
        super().on_train_epoch_end(trainer, pl_module)

    @property
    def _chooses(self) -> str | None:
        if len(self.phases) > 1:
            return super()._chooses
        return "regularisation strength" if len(self.strengths) > 1 else None

    def results(self) -> dict[str, Any]:
        return {"probe": self.chosen}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "chosen": self.chosen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.chosen = state_dict["chosen"]

    def _warn_of_few_steps(self, phases: Sequence[Phase]) -> None:
        super()._warn_of_few_steps(phases[1:])  # L-BFGS takes as many steps as it needs

    def _start_optimizer(self, trainer: pl.Trainer, model: Task) -> None:
        super()._start_optimizer(trainer, model)
        if self.phase_number == 0:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = 0.0

    def _start_schedule(self, optimizer: torch.optim.Optimizer) -> None:
        if self.phase_number > 0:
            super()._start_schedule(optimizer)

    def _fit(self, trainer: pl.Trainer, model: Task) -> None:
        linear = [module for module in model.head.layers.modules() if list(module.parameters(recurse=False))]
        if len(linear) != 1 or not isinstance(linear[0], nn.Linear):
            raise InputError("the linear probe needs a head with a single linear layer: give head=linear.")
        if len(self.phases) > 1 and any(
            isinstance(each, nn.Dropout) and each.p for each in model.head.layers.modules()
        ):
            raise InputError(
                "fine-tuning from a linear probe needs head.dropout=0: the head includes the standardisation of the "
                "features, so dropping some of them would shift its outputs."
            )
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if type(datamodule.target) is not ClassTarget:
            raise InputError("the linear probe learns one label per sample: give task=classification.")
        if datamodule.sampler == "balanced":
            raise InputError("the linear probe draws no batches: give finetune.class_weight=balanced instead.")
        if model.mixing is not None:
            raise InputError("the linear probe cannot use mixup or CutMix: set task.mixup and task.cutmix to 0.")
        if len(self.phases) == 1 and (
            model.sam or self._averaging(trainer) or any(ADDITION in name for name, _ in model.named_parameters())
        ):
            raise InputError(
                "the linear probe takes no optimizer steps: leave out the recipes sam, averaged_weights and lora."
            )
        cached = datamodule.cached_features(model)
        if not {"train", "val"} <= cached.keys():
            raise InputError(
                "the linear probe needs the cached features of training and validation frames: use augmentation=none "
                "or flip, one device, and a large enough finetune.cache_gb."
            )
        labels = {name: datamodule.target.values(datamodule.samples_of(name)) for name in ("train", "val")}
        train, weights = _all_views(cached["train"])
        targets = np.tile(labels["train"], len(weights))
        sample_weight = np.repeat(weights, len(labels["train"]))
        val = cached["val"]
        shown = [val.views[0][val.rows], *([val.mirrored[val.rows]] if val.mirrored is not None else [])]
        scores: dict[str, dict[str, float]] = {}
        layers: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        for strength in sorted(self.strengths):
            regression = LogisticRegression(C=strength, class_weight=self.class_weight, max_iter=1000)
            probe = make_pipeline(StandardScaler(), regression)
            probe.fit(train, targets, logisticregression__sample_weight=sample_weight)
            weight, bias = layers[strength] = _folded(probe)
            logits = np.mean([features @ weight.T + bias for features in shown], axis=0)
            present = np.unique(labels["val"])
            scores[f"{strength:g}"] = {
                "loss": float(-log_softmax(logits, axis=1)[np.arange(len(logits)), labels["val"]].mean()),
                "uar": float(recall_score(labels["val"], logits.argmax(axis=1), labels=present, average="macro")),
            }
        # Of equal losses, the stronger regularisation.
        strength = min(sorted(self.strengths), key=lambda each: scores[f"{each:g}"]["loss"])
        self.chosen = {"strength": strength, "scores": scores}
        log.info("linear probe: of C=%s, %s has the lowest validation loss.", self.strengths, strength)
        with torch.no_grad():
            linear[0].weight.copy_(torch.from_numpy(layers[strength][0]))
            linear[0].bias.copy_(torch.from_numpy(layers[strength][1]))


def _all_views(cached: CachedFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of all views that have a chance, (V * N, F), and the chances, (V,)."""
    chances = np.array([1.0] if cached.chances is None else cached.chances)
    views = np.flatnonzero(chances)
    return np.concatenate([cached.views[view][cached.rows] for view in views]), chances[views]


def _folded(probe: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight and bias of the linear layer that equals the regression with the standardisation before it."""
    scaler, regression = probe[0], probe[1]
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: the regression gives the logit of the second
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = coefficients / scaler.scale_
    return weight, intercepts - weight @ scaler.mean_
