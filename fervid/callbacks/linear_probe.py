"""Linear probe: logistic regression on the features of the frozen backbone, alone or before fine-tuning."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from fervid.callbacks.finetune import FreezeThenFineTune, Phase
from fervid.data.inputs import CachedFeatures
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.models.fusion import LateFusion, combined
from fervid.models.heads import Head
from fervid.models.lora import ADDITION
from fervid.tasks.task import Task

log = logging.getLogger(__name__)


class LinearProbe(FreezeThenFineTune):
    """Fits a linear head to the features of the frozen backbone by logistic regression.

    The features are standardised, and scikit-learn's L-BFGS finds the optimum, which gradient descent on the same head
    would approach in many epochs. The inverse regularisation strength with the lowest validation loss is chosen: in
    small corpora, the UAR of a few subjects changes too much by chance. The standardisation is folded into the head, so
    that the result is an ordinary network. One epoch without a change of the weights then records its scores.

    With several modalities and ``fusion=late``, the head of each modality is fitted by itself, and then the weights of
    the modalities to the validation loss of the combined probabilities.

    With ``refit``, the heads are then fitted again to the training and validation samples together, with the chosen
    strengths and weights, as scikit-learn's ``GridSearchCV`` does. The validation scores are those before that.

    Further phases fine-tune the network, starting from the head of the probe (LP-FT: Kumar et al., Fine-Tuning can
    Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022).

    Args:
        strengths: inverse regularisation strengths C to choose from; smaller values regularise more.
        class_weight: None, or ``balanced`` to weight classes by their inverse frequency.
        refit: whether the final heads are fitted to the training and validation samples.
        phases: the phases after the probe, see :class:`FreezeThenFineTune`.
        monitor: name of a logged score. Without further phases, it is only recorded.
        patience_steps, select, cache_gb, subject_normalisation, folder: see :class:`FreezeThenFineTune`.
        scheduler: see :class:`FreezeThenFineTune`; must be None without further phases.

    Attributes:
        chosen: the chosen ``strength`` of each modality, and validation ``loss`` and ``uar`` of every strength in
            ``scores``.
        weights: the weights of several modalities.

    Raises:
        InputError: if there is a scheduler, a head is not a single linear layer, the fusion is not late, the features
            cannot be cached, or ``refit`` is followed by further phases, which need validation samples.
    """

    def __init__(
        self,
        strengths: Sequence[float] = (0.0001, 0.001, 0.01, 0.1, 1.0),
        *,
        class_weight: str | None = None,
        refit: bool = False,
        phases: Sequence[Phase | dict[str, Any]] = (),
        monitor: str = "val/uar",
        patience_steps: int = 0,
        select: str = "best",
        cache_gb: float = 8.0,
        subject_normalisation: bool = False,
        folder: str | Path | None = None,
        scheduler: Any = None,
    ):
        if scheduler is not None and not phases:
            raise InputError("finetune=linear_probe has no optimizer steps to schedule: give scheduler=none.")
        if not strengths or min(strengths) <= 0:
            raise InputError(f"finetune.strengths={list(strengths)} is out of range: give numbers above 0.")
        if class_weight not in (None, "balanced"):
            raise InputError(f"finetune.class_weight={class_weight} is unknown: give null or balanced.")
        if refit and phases:
            raise InputError(
                "finetune.refit=true trains on the validation samples, by which further phases choose their epoch: set "
                "it to false."
            )
        super().__init__(
            [Phase("probe", 1, "head"), *phases],
            monitor=monitor,
            patience_steps=patience_steps,
            select=select,
            scheduler=scheduler,
            cache_gb=cache_gb,
            subject_normalisation=subject_normalisation,
            folder=folder,
        )
        self.strengths, self.class_weight, self.refit = list(strengths), class_weight, refit
        self.chosen: dict[str, dict[str, Any]] = {}
        self.weights: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Task) -> None:
        if self.phase_number == 0:
            self._fit(trainer, pl_module)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Task, *_: Any) -> None:
        """Scores the probe without dropout, which would disturb it: the features are not centred."""
        if self.phase_number == 0:
            pl_module.head.eval()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Task) -> None:
        if self.refit:
            self._refit(trainer, pl_module)
        pl_module.head.train()
        super().on_train_epoch_end(trainer, pl_module)

    @property
    def _chooses(self) -> str | None:
        if len(self.phases) > 1:
            return super()._chooses
        return "regularisation strength" if len(self.strengths) > 1 else None

    @property
    def trains_on_validation(self) -> bool:
        return self.refit

    def results(self) -> dict[str, Any]:
        return {"probe": self.chosen} | ({"modality_weights": self.weights} if self.weights else {})

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "chosen": self.chosen, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.chosen, self.weights = state_dict["chosen"], state_dict["weights"]

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
        heads = self._heads(model)
        self._check(trainer, model, heads)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        cached = {name: datamodule.cached_features(model, name) for name in ("train", "val")}
        if any(not heads.keys() <= found.keys() for found in cached.values()):
            raise InputError(
                "the linear probe needs the cached features of training and validation samples: use augmentation=none "
                "or flip, sound_augmentation=none, one device, and a large enough finetune.cache_gb."
            )
        labels = {name: datamodule.target.values(datamodule.samples_of(name)) for name in ("train", "val")}
        logits: dict[str, np.ndarray] = {}
        for modality, head in heads.items():
            pooling = model.network.branches[modality].pooling
            train = _all_views(cached["train"][modality], pooling)
            val = _shown(cached["val"][modality], pooling)
            chosen, logits[modality] = self._fit_head(head, train, val, labels)
            strength = chosen["strength"]
            named = f" of {modality}" if len(heads) > 1 else ""
            log.info("linear probe%s: of C=%s, %s has the lowest validation loss.", named, self.strengths, strength)
            self.chosen[modality] = chosen
        if isinstance(model.head, LateFusion):
            weights = _fit_weights(list(logits.values()), labels["val"], model.head.rule)
            model.head.weights.copy_(torch.from_numpy(weights))
            self.weights = dict(zip(heads, weights.tolist(), strict=True))
            named = ", ".join(f"{name} {weight:.2f}" for name, weight in self.weights.items())
            log.info("weights of the modalities with the lowest validation loss: %s.", named)

    def _refit(self, trainer: pl.Trainer, model: Task) -> None:
        """Fits the heads to the training and validation samples, with the chosen strengths."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        cached = {name: datamodule.cached_features(model, name) for name in ("train", "val")}
        labels = {name: datamodule.target.values(datamodule.samples_of(name)) for name in ("train", "val")}
        for modality, head in self._heads(model).items():
            pooling = model.network.branches[modality].pooling
            train, chances = _all_views(cached["train"][modality], pooling)
            shown = _shown(cached["val"][modality], pooling)
            features = np.concatenate([train, *shown])
            targets = np.concatenate([np.tile(labels["train"], len(chances)), np.tile(labels["val"], len(shown))])
            each = [np.repeat(chances, len(labels["train"])), np.full(len(labels["val"]) * len(shown), 1 / len(shown))]
            _set(head, self._layer(self.chosen[modality]["strength"], features, targets, np.concatenate(each)))
        log.info("linear probe: fitted again to the training and validation samples.")

    def _heads(self, model: Task) -> dict[str, Head]:
        """Returns the head of each modality."""
        if isinstance(model.head, LateFusion):
            return dict(model.head.heads)
        if not isinstance(model.head, Head):
            raise InputError("the linear probe fits a head for each modality: give fusion=late.")
        return {model.network.modalities[0]: model.head}

    def _check(self, trainer: pl.Trainer, model: Task, heads: dict[str, Head]) -> None:
        """Raises an InputError if a setting does not fit a logistic regression."""
        for head in heads.values():
            _linear(head)
            if len(self.phases) > 1 and any(isinstance(each, nn.Dropout) and each.p for each in head.layers.modules()):
                raise InputError(
                    "fine-tuning from a linear probe needs head.dropout=0: the head includes the standardisation of "
                    "the features, so dropping some of them would shift its outputs."
                )
        for branch in model.network.branches.values():
            if any(True for _ in branch.pooling.parameters()):
                raise InputError(
                    "the linear probe needs a pooling without weights: give pooling=mean or mean_and_deviation."
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

    def _fit_head(
        self,
        head: Head,
        train: tuple[np.ndarray, np.ndarray],
        shown: Sequence[np.ndarray],
        labels: dict[str, np.ndarray],
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Fits a head; returns the chosen strength with the scores of all, and the logits of the validation samples.

        Args:
            head: the head.
            train: features of all views of the training samples, and the chances of the views.
            shown: features of the validation samples, and of their mirror images if both are averaged.
            labels: classes of the training and validation samples.
        """
        features, chances = train
        targets = np.tile(labels["train"], len(chances))
        sample_weight = np.repeat(chances, len(labels["train"]))
        scores: dict[str, dict[str, float]] = {}
        layers: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        found: dict[float, np.ndarray] = {}
        present = np.unique(labels["val"])
        for strength in sorted(self.strengths):
            weight, bias = layers[strength] = self._layer(strength, features, targets, sample_weight)
            logits = found[strength] = np.mean([each @ weight.T + bias for each in shown], axis=0)
            scores[f"{strength:g}"] = {
                "loss": _loss(logits, labels["val"]),
                "uar": float(recall_score(labels["val"], logits.argmax(axis=1), labels=present, average="macro")),
            }
        # Of equal losses, the stronger regularisation.
        strength = min(sorted(self.strengths), key=lambda each: scores[f"{each:g}"]["loss"])
        _set(head, layers[strength])
        return {"strength": strength, "scores": scores}, found[strength]

    def _layer(
        self, strength: float, features: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fits a logistic regression to standardised features; returns weight and bias for features as they are."""
        regression = LogisticRegression(C=strength, class_weight=self.class_weight, max_iter=1000)
        probe = make_pipeline(StandardScaler(), regression)
        probe.fit(features, targets, logisticregression__sample_weight=sample_weight)
        return _folded(probe)


def _linear(head: Head) -> nn.Linear:
    """Returns the only layer with weights of a head."""
    layers = [module for module in head.layers.modules() if list(module.parameters(recurse=False))]
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear):
        raise InputError("the linear probe needs a head with a single linear layer: give head=linear.")
    return layers[0]


def _set(head: Head, layer: tuple[np.ndarray, np.ndarray]) -> None:
    """Copies weight and bias into the linear layer of a head."""
    linear, (weight, bias) = _linear(head), layer
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean cross entropy."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(logits)), labels].mean())


def _fit_weights(logits: Sequence[np.ndarray], labels: np.ndarray, rule: str) -> np.ndarray:
    """Returns the weights of M modalities with the lowest loss of the combined probabilities, float32 (M,).

    Args:
        logits: logits of each modality, (N, C).
        labels: class of each of the N samples.
        rule: see :func:`fervid.models.fusion.combined`.
    """
    logs = torch.from_numpy(np.stack([log_softmax(each, axis=1) for each in logits]))
    present = torch.ones(logs.shape[:2], dtype=torch.bool)

    def loss(weights: np.ndarray) -> float:
        return _loss(combined(logs, torch.from_numpy(weights), present, rule).numpy(), labels)

    found = minimize(loss, np.ones(len(logits)), method="L-BFGS-B", bounds=[(0.01, 10.0)] * len(logits))
    return found.x.astype(np.float32)


@torch.no_grad()
def _vectors(features: np.ndarray, pooling: nn.Module) -> np.ndarray:
    """Pools features over time: (N, T, D) -> (N, F); those of a single frame or sound are already vectors."""
    return pooling(torch.from_numpy(np.ascontiguousarray(features))).numpy()


def _shown(cached: CachedFeatures, pooling: nn.Module) -> list[np.ndarray]:
    """Returns the features whose outputs are averaged, each (N, F)."""
    arrays = [cached.views[0], *([] if cached.mirrored is None else [cached.mirrored])]
    return [_vectors(array[cached.rows], pooling) for array in arrays]


def _all_views(cached: CachedFeatures, pooling: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of all views that have a chance, (V * N, F), and the chances, (V,)."""
    chances = np.array([1.0] if cached.chances is None else cached.chances)
    views = np.flatnonzero(chances)
    return np.concatenate([_vectors(cached.views[view][cached.rows], pooling) for view in views]), chances[views]


def _folded(probe: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight and bias of the linear layer that equals the regression with the standardisation before it."""
    scaler, regression = probe[0], probe[1]
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: the regression gives the logit of the second
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = coefficients / scaler.scale_
    return weight, intercepts - weight @ scaler.mean_
