"""Training in phases: trainable stages, learning rate and duration of each phase."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, WeightAveraging
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from fervid.callbacks.averaged_weights import AveragedWeights
from fervid.callbacks.prefix_cache import PrefixCache
from fervid.callbacks.subject_normalisation import normalised_by_subject
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError, first_line
from fervid.models.lora import merge_lora
from fervid.models.network import Network
from fervid.schema.columns import keys
from fervid.tasks.task import Task

log = logging.getLogger(__name__)

MIN_PHASE_STEPS = 100  # optimizer steps; fewer hardly move a network from where it starts
MIN_VALIDATION_SUBJECTS = 5  # with fewer, each subject is more than a fifth of the score that chooses the epoch


@dataclass(frozen=True)
class Phase:
    """A phase of training with a fixed set of trainable stages.

    Attributes:
        name: name of the phase in tables and figures.
        epochs: maximum number of epochs.
        unfreeze_from: first trainable stage of the backbone: a stage name, ``all``, ``last_block``, or ``head`` to
            train only the head.
        lr_factor: factor on the optimizer's learning rate.
        patience: number of epochs without improvement after which the phase ends; None: no early stopping.
    """

    name: str
    epochs: int
    unfreeze_from: str
    lr_factor: float = 1.0
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"phase {self.name!r} has epochs={self.epochs}: give at least 1, or leave the phase out.")
        if not 0 < self.lr_factor < math.inf:
            raise InputError(f"phase {self.name!r} has lr_factor={self.lr_factor}: give a number above 0.")
        if not isinstance(self.unfreeze_from, str):
            raise InputError(f"phase {self.name!r} has unfreeze_from={self.unfreeze_from}: give a stage, all or head.")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"phase {self.name!r} has patience={self.patience}: give at least 1, or null.")


class FreezeThenFineTune(Checkpoint):
    """Trains a task in phases, each with its own trainable stages and learning rate.

    Each phase starts from the best weights so far with a fresh optimizer state, like a recompiled Keras model. It ends
    after its maximum number of epochs, or earlier when the monitored score has not improved for ``patience`` epochs and
    ``patience_steps`` optimizer steps. In a small corpus, whose epochs have few steps, the number of steps decides.
    After the last phase the model has the best weights of all epochs. With ``select="last"`` every phase starts from
    the weights of the last epoch, and the model ends with them. With :class:`fervid.callbacks.AveragedWeights`, the
    averaged weights of an epoch are kept. Features of frozen stages are cached.

    The callback writes checkpoints. Therefore it cannot be used with ``Trainer(enable_checkpointing=False)``.

    The current phase is stored in checkpoints, so that a resumed run is bit-identical to an uninterrupted one.

    Args:
        phases: the phases, or mappings with their attributes.
        monitor: name of a logged score. Names that end in ``loss`` are minimised, all others are maximised.
        patience_steps: minimum number of optimizer steps without improvement before a phase with a patience ends.
        select: ``best`` or ``last``: the epoch whose weights are selected.
        scheduler: function that makes a learning rate scheduler for an optimizer. It is called at the start of each
            phase. It is stepped once per epoch, or with each optimizer step if it has a setting ``total_steps``.
            ``T_max=None`` is replaced by the epochs of the phase, ``total_steps=None`` by its optimizer steps,
            ``mode=None`` by the direction of ``monitor``.
        cache_gb: see :class:`PrefixCache`.
        cached_views: see :class:`PrefixCache`.
        subject_normalisation: whether the features of the frozen encoders are standardised by subject
            (:func:`fervid.callbacks.subject_normalisation.normalised_by_subject`).
        folder: folder to which ``best.ckpt`` is written at the end; None: it is not written.

    Attributes:
        history: one dict per epoch with the logged scores, ``epoch`` (from 1), ``phase`` and ``seconds``.
        best: ``epoch`` (from 1) and ``score`` of the selected weights.
        trainable: number of trainable parameters of each phase, by its name.
    """

    def __init__(
        self,
        phases: Sequence[Phase | dict[str, Any]],
        *,
        monitor: str = "val/uar",
        patience_steps: int = 0,
        select: str = "best",
        scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
        cache_gb: float = 8.0,
        cached_views: int | None = None,
        subject_normalisation: bool = False,
        folder: str | Path | None = None,
    ):
        self.phases = [phase if isinstance(phase, Phase) else Phase(**phase) for phase in phases]
        if not self.phases:
            raise InputError("finetune.phases is empty: give at least one phase.")
        if select not in ("best", "last"):
            raise InputError(f"finetune.select={select} is unknown: choose best or last.")
        with_patience = [phase.name for phase in self.phases if phase.patience is not None]
        if select == "last" and with_patience:
            raise InputError(
                f"finetune.select=last runs all epochs, but phase {with_patience[0]!r} has a patience: set it to null."
            )
        if patience_steps < 0:
            raise InputError(f"finetune.patience_steps={patience_steps} is out of range: give 0 or more.")
        if cached_views is not None and cached_views < 1:
            raise InputError(f"finetune.cached_views={cached_views} is out of range: give at least 1, or null.")
        self.monitor, self.select, self.make_scheduler = monitor, select, scheduler
        self.patience_steps = patience_steps
        self.cache = PrefixCache(cache_gb, cached_views)
        self.subject_normalisation = subject_normalisation
        self.best_path = Path(folder) / "best.ckpt" if folder else None
        self.phase_number = 0
        self.epochs_in_phase = 0
        self.epochs_without_better = 0
        self.step_of_better = 0  # number of optimizer steps at the last improvement, or at the start of the phase
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self._best_weights: dict[str, torch.Tensor] = {}
        self._scheduler: LRScheduler | None = None
        self._scheduler_state: dict[str, Any] | None = None
        self.trainable: dict[str, int] = {}
        self._resumed = False
        self._steps_per_epoch = 1
        self._steps_done = 0

    @property
    def max_epochs(self) -> int:
        """Maximum number of epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def phase(self) -> Phase:
        """The current phase; the last phase once training has ended."""
        return self.phases[min(self.phase_number, len(self.phases) - 1)]

    # Training

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Task) -> None:
        """Freezes stages and fills the feature cache before Lightning creates the first loader."""
        self._freeze(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Task) -> None:
        self._steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        self._steps_done = trainer.global_step
        self._warn_of_few_steps(self.phases)
        self._warn_of_few_subjects(trainer.datamodule)  # type: ignore[attr-defined]
        if self.phase_number == len(self.phases):
            trainer.should_stop = True
        elif self._resumed:
            # Creating a scheduler overwrites the learning rates that were just restored from the checkpoint.
            rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
            self._start_schedule(trainer.optimizers[0])
            if self._scheduler is not None and self._scheduler_state is not None:
                self._scheduler.load_state_dict(self._scheduler_state)
            for group, rate in zip(trainer.optimizers[0].param_groups, rates, strict=True):
                group["lr"] = rate
        else:
            self._start_optimizer(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Task) -> None:
        self._epoch_began = time.perf_counter()
        # Of several groups with the same name, such as those of layer-wise decay, the last layer's rate is kept.
        self._rates = {f"lr/{group['name']}": group["lr"] for group in trainer.optimizers[0].param_groups}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Steps a schedule of optimizer steps, unless the batch only accumulated gradients."""
        if self._is_stepwise and trainer.global_step > self._steps_done:
            self._step_schedule(math.nan)
        self._steps_done = trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Task) -> None:
        """Stores the weights if they are the best so far, steps the schedule, and starts the next phase when due."""
        self._record_epoch(trainer, pl_module)
        score = float(trainer.callback_metrics[self.monitor])
        self.epochs_in_phase += 1
        self.epochs_without_better += 1
        if not self.best or self.select == "last" or self._better(score, self.best["score"]):
            self.best = {"epoch": trainer.current_epoch + 1, "score": score}
            self.epochs_without_better, self.step_of_better = 0, trainer.global_step
            averaging = self._averaging(trainer)
            self._best_weights = self._trainable_state(pl_module, averaging.average if averaging else pl_module)
        if not self._is_stepwise:
            self._step_schedule(score)

        patience = self.phase.patience
        finished = self.epochs_in_phase >= self.phase.epochs
        steps = trainer.global_step - self.step_of_better
        early = (
            not finished
            and patience is not None
            and self.epochs_without_better >= patience
            and steps >= self.patience_steps
        )
        if early:
            log.info(
                "phase %s: %s has not improved for %d epochs: stopped.",
                *(self.phase.name, self.monitor, self.epochs_without_better),
            )
        if finished or early:
            self._next_phase(trainer, pl_module)
        # The next phase may switch between pictures and cached features, which needs new loaders.
        trainer.reload_dataloaders_every_n_epochs = int(finished or early)  # type: ignore[attr-defined]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Task) -> None:
        """Loads the best weights into the model, also when a resumed run had no epochs left, and merges LoRA."""
        pl_module.load_state_dict(self._best_weights, strict=False)
        for encoder in pl_module.network.encoders.values():
            merge_lora(encoder.network)
        if self.best_path:
            trainer.save_checkpoint(self.best_path, weights_only=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: Task, exception: BaseException) -> None:
        """Saves the best weights of a run that was interrupted or failed."""
        # Saving is collective: a rank that fails alone would wait for the others forever.
        if self.best and trainer.world_size == 1:
            try:
                self.on_fit_end(trainer, pl_module)
            except Exception as error:  # such as a full disk; it must not hide the original exception
                log.warning("the best weights so far could not be written: %s.", first_line(error))

    # Phases

    def _warn_of_few_steps(self, phases: Sequence[Phase]) -> None:
        steps = self._steps_per_epoch
        few = [phase for phase in phases if phase.epochs * steps < MIN_PHASE_STEPS]
        if few and not self._resumed:
            log.warning(
                "phase %s has at most %d optimizer steps (%d epochs of %d steps): give it more epochs or a "
                "smaller dataset.batch_size.",
                *(few[0].name, few[0].epochs * steps, few[0].epochs, steps),
            )

    @property
    def _chooses(self) -> str | None:
        """What the validation score chooses; None: nothing."""
        return "epoch" if self.select == "best" and self.monitor.startswith("val/") else None

    def _warn_of_few_subjects(self, datamodule: EmotionDataModule) -> None:
        samples = datamodule.samples_of("val")
        if self._resumed or self._chooses is None or samples["subject"].isna().any():
            return
        subjects = keys(samples, "subject").nunique()
        if subjects < MIN_VALIDATION_SUBJECTS:
            log.warning(
                "the validation subset has only %d subject%s, so the best %s is chosen largely by chance: use a larger "
                "validation subset%s.",
                *(subjects, "s"[: subjects != 1], self._chooses),
                ", or train for a fixed number of epochs (finetune.select=last)" * (self._chooses == "epoch"),
            )

    @property
    def trains_on_validation(self) -> bool:
        """Whether the final weights were also trained on the validation samples."""
        return False

    def results(self) -> dict[str, Any]:
        """Returns further entries for ``results.json``."""
        return {}

    def _next_phase(self, trainer: pl.Trainer, model: Task) -> None:
        model.load_state_dict(self._best_weights, strict=False)
        self.phase_number += 1
        self.epochs_in_phase = self.epochs_without_better = 0
        self.step_of_better = trainer.global_step
        if self.phase_number == len(self.phases):
            trainer.should_stop = True
            return
        self._freeze(trainer, model)
        self._start_optimizer(trainer, model)

    def _freeze(self, trainer: pl.Trainer, model: Task) -> None:
        """Freezes stages of the model and sets up cached features; depends only on the current phase."""
        # Resolve the stages of all phases now, so that a misspelt stage of the last phase fails at once.
        stages = [model.network.stage_numbers(phase.unfreeze_from) for phase in self.phases]
        number = min(self.phase_number, len(self.phases) - 1)
        model.network.freeze_before(stages[number])
        datamodule: EmotionDataModule = trainer.datamodule  # type: ignore[attr-defined]
        features = self.cache.features(trainer, model, datamodule, stages[number:])
        if self.subject_normalisation:
            features = normalised_by_subject(features, datamodule, model.network.modalities)
            log.warning(
                "features are normalised by subject, using all its samples without their labels: the scores hold for "
                "people of whom several recordings are at hand."
            )
        datamodule.use_features(features, model)
        self.trainable = {
            phase.name: sum(parameter.numel() for parameter in model.network.trainable_parameters(numbers))
            for phase, numbers in zip(self.phases, stages, strict=True)
        }
        log.info(
            "phase %s: training %s, %s parameters%s.",
            self.phase.name,
            _trained(model.network, stages[number]),
            f"{self.trainable[self.phase.name]:,}",
            ", on cached features" if features.get("train") else "",
        )

    def _start_optimizer(self, trainer: pl.Trainer, model: Task) -> None:
        optimizer = trainer.optimizers[0]
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = (
                optimizer.defaults["lr"] * self.phase.lr_factor * group.get("lr_factor", 1.0)
            )
        self._start_schedule(optimizer)
        self._best_weights = self._trainable_state(model, model)
        if averaging := self._averaging(trainer):
            averaging.restart(model)

    def _start_schedule(self, optimizer: torch.optim.Optimizer) -> None:
        self._scheduler = self.make_schedule(optimizer)

    @property
    def _is_stepwise(self) -> bool:
        return "total_steps" in getattr(self.make_scheduler, "keywords", {})

    def make_schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
        """Makes the scheduler of the current phase; returns None if there is no scheduler.

        Raises:
            InputError: if the scheduler rejects its settings.
        """
        if self.make_scheduler is None:
            return None
        settings = getattr(self.make_scheduler, "keywords", {})
        defaults = {
            "T_max": self.phase.epochs,
            "total_steps": self.phase.epochs * self._steps_per_epoch,
            "mode": "min" if self.monitor.endswith("loss") else "max",
        }
        missing = {name: value for name, value in defaults.items() if settings.get(name, value) is None}
        try:
            return self.make_scheduler(optimizer, **missing)
        except (TypeError, ValueError) as error:
            raise InputError(f"the scheduler rejects its settings: {first_line(error)}.") from error

    def _step_schedule(self, score: float) -> None:
        try:
            if isinstance(self._scheduler, ReduceLROnPlateau):
                self._scheduler.step(score)
            elif self._scheduler is not None:
                self._scheduler.step()
        except ZeroDivisionError as error:
            raise InputError("the scheduler divides by zero: give its step_size or T_max 1 or more.") from error
        except ValueError as error:  # such as OneCycleLR with fewer steps than the phase has
            raise InputError(
                f"the scheduler ends before the phase ({first_line(error)}): give scheduler.total_steps=null."
            ) from error

    @staticmethod
    def _averaging(trainer: pl.Trainer) -> AveragedWeights | None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AveragedWeights):
                return callback
            if isinstance(callback, WeightAveraging):
                raise InputError(
                    f"the average of {type(callback).__name__} would not be kept at the end of a phase: use "
                    "recipe=averaged_weights."
                )
        return None

    @staticmethod
    def _trainable_state(model: Task, source: nn.Module) -> dict[str, torch.Tensor]:
        """Returns a copy of all parameters and buffers that this phase may change, with the values of ``source``."""
        frozen = tuple(
            f"network.branches.{modality}.encoder.network.{stage}."
            for modality, branch in model.network.branches.items()
            for stage in branch.encoder.stages[: branch.unfreeze_from]
        )
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in source.state_dict().items()
            if not name.startswith(frozen)
        }

    # Epochs

    def _record_epoch(self, trainer: pl.Trainer, model: Task) -> None:
        scores = {**model.scores["train"], **model.scores.get("val", {})}
        if not math.isfinite(scores["train/loss"]):
            raise InputError(
                f"the training loss is {scores['train/loss']} after epoch {trainer.current_epoch + 1}: the network has "
                "diverged; use a smaller optimizer.lr."
            )
        if self.monitor not in trainer.callback_metrics:
            if "val" in model.scores:
                names = ", ".join(name for name in scores if name.startswith(("train/", "val/")))
                raise InputError(f"finetune.monitor={self.monitor} is not logged: choose one of {names}.")
            raise InputError(
                f"epoch {trainer.current_epoch + 1} ended before validation, which finetune.monitor={self.monitor} "
                "needs: give a larger trainer.max_time or max_steps, or leave them out."
            )
        seconds = time.perf_counter() - self._epoch_began
        row = {"epoch": trainer.current_epoch + 1, "phase": self.phase.name}
        self.history.append({**row, **scores, **self._rates, "seconds": seconds})
        for logger in trainer.loggers:
            logger.log_metrics(self._rates, step=trainer.current_epoch + 1)

    def _better(self, score: float, best: float) -> bool:
        if not math.isfinite(score) or not math.isfinite(best):
            return math.isfinite(score)
        return score < best if self.monitor.endswith("loss") else score > best

    # Checkpoints

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Task, checkpoint: dict[str, Any]) -> None:
        """Shares best weights that equal the current ones, since torch writes shared tensors only once."""
        best, current = checkpoint["callbacks"][self.state_key]["best_weights"], checkpoint["state_dict"]
        for name, tensor in best.items():
            if tensor.device == current[name].device and torch.equal(tensor, current[name]):
                best[name] = current[name]

    def state_dict(self) -> dict[str, Any]:
        return {
            "phase_number": self.phase_number,
            "epochs_in_phase": self.epochs_in_phase,
            "epochs_without_better": self.epochs_without_better,
            "step_of_better": self.step_of_better,
            "best": self.best,
            "best_weights": dict(self._best_weights),
            "history": self.history,
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.phase_number = state_dict["phase_number"]
        self.epochs_in_phase = state_dict["epochs_in_phase"]
        self.epochs_without_better = state_dict["epochs_without_better"]
        self.step_of_better = state_dict.get("step_of_better", 0)  # absent in older checkpoints
        self.best, self.history = dict(state_dict["best"]), list(state_dict["history"])
        self._best_weights = state_dict["best_weights"]
        self._scheduler_state = state_dict["scheduler"]
        self._resumed = True


def _trained(network: Network, numbers: Mapping[str, int]) -> str:
    """Describes the trainable part of a network by the first trainable stage of each encoder."""
    encoders = network.encoders
    first = {
        name: encoders[name].stages[number] for name, number in numbers.items() if number < len(encoders[name].stages)
    }
    if not first:
        return "the head"
    named = [stage if len(encoders) == 1 else f"{stage} of {name}" for name, stage in first.items()]
    return f"from {' and '.join(named)} to the head"
