"""Base class of all tasks: a network with an optional frozen prefix, and its training steps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fervid.data.inputs import Batch, cached_name, mirrored_name
from fervid.data.targets import Target
from fervid.errors import InputError, first_line
from fervid.models.backbone import Backbone
from fervid.models.fusion import Fusion
from fervid.models.heads import Head
from fervid.models.network import Network
from fervid.schema.parts import Part
from fervid.tasks.mixing import Mixing
from fervid.tasks.parameter_groups import parameter_groups
from fervid.tasks.sharpness import sharpness_aware_gradients

Vectors = tuple[dict[str, Tensor], dict[str, Tensor]]  # of each modality, and of mirrored pictures
OptimizerFactory = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


class Task(pl.LightningModule):
    """Base class for learning one kind of target from samples.

    A task is a subclass with a yaml file in ``conf/task``. The subclass defines its scores, its target, its loss, what
    is recorded for each sample and what is measured on a test: the class attributes below, and the methods in the
    section "Interface of a task". The report of a task is a module of ``fervid/report``.

    The first stages of each encoder may be frozen (:class:`fervid.models.network.Branch`). They run in ``eval()`` mode
    without gradients, so that neither their weights nor their BatchNorm statistics change. Their parameters keep
    ``requires_grad=True``, so that distributed training still synchronises them when they are trained later.

    Args:
        network: maps inputs to outputs.
        target: fitted target to learn.
        optimizer: function that makes an optimizer from parameter groups (:func:`parameter_groups`).
        layer_decay: see :func:`fervid.tasks.parameter_groups.parameter_groups`.
        decay_norms: see :func:`fervid.tasks.parameter_groups.parameter_groups`.
        mixup: see :class:`fervid.tasks.mixing.Mixing`. The loss is the weighted mean of those for both targets, and the
            scores of the training subset compare with the target of the larger share.
        cutmix: see ``mixup``.
        test_flips: whether the outputs for a picture in ``eval()`` mode, thus also those of validation, test and
            prediction, are the mean of the outputs for the picture and for its mirror image.
        sam: radius rho of :func:`fervid.tasks.sharpness.sharpness_aware_gradients`; 0: off. Scores of the training
            subset are those of the first pass.

    Attributes:
        shown: scores shown for each epoch, the main one first, without the prefix ``train/`` or ``val/``.
        monitors: logged scores that can select the best epoch. Names that end in ``loss`` are minimised, all others are
            maximised.
        parts: what the task predicts, with the names of its outputs; empty for a task without :meth:`answers`.
        scores: logged names and values of the last finished epoch of each subset ``train``, ``val`` and ``test``.

    Shapes:
        inputs of the network, such as pictures (B, 3, H, W) in [0, 1] -> outputs (B, ...).
    """

    shown: tuple[str, ...]
    monitors: ClassVar[tuple[str, ...]]
    parts: Sequence[Part] = ()

    def __init__(
        self,
        network: Network,
        target: Target,
        *,
        optimizer: OptimizerFactory = torch.optim.Adam,
        layer_decay: float = 1.0,
        decay_norms: bool = True,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        test_flips: bool = False,
        sam: float = 0.0,
    ):
        super().__init__()
        self.network, self.target, self.optimizer = network, target, optimizer
        self.layer_decay, self.decay_norms = layer_decay, decay_norms
        self.mixing = Mixing(mixup, cutmix) if mixup or cutmix else None
        self.test_flips = test_flips
        self.sam, self._is_counted = sam, True
        self.scores: dict[str, dict[str, float]] = {}
        self.to(memory_format=torch.channels_last)

    # Interface of a task

    @classmethod
    def make_target(cls) -> Target:
        """Returns the unfitted target of the task; the datamodule fits it.

        Keyword arguments of a subclass are the settings ``task.target.<name>``.
        """
        raise NotImplementedError

    @classmethod
    def stored_target(cls, results: dict[str, Any]) -> Target:
        """Returns the target of a finished run, with which :func:`fervid.load_run` builds the task again.

        Override it if the target learns something when it is fitted: :meth:`measure` can record it.

        Args:
            results: content of ``results.json``.
        """
        return cls.make_target()

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean loss of a batch."""
        raise NotImplementedError

    def answers(self, outputs: Tensor) -> dict[str, Tensor]:
        """Returns the values that outputs stand for, float (B, len(part.names)) by the name of each of :attr:`parts`.

        They are the probabilities of the classes, valence and arousal from -1 to 1, and the probabilities of action
        units, in the order of ``part.names``.
        """
        raise NotImplementedError

    def loss_parameters(self) -> list[nn.Parameter]:
        """Returns parameters of the loss, which are learned without weight decay at the learning rate of the head."""
        return []

    def recorded_outputs(self, outputs: Tensor) -> dict[str, Tensor]:
        """Returns what is recorded for each sample of a validation or test batch, each entry of shape (B, ...)."""
        raise NotImplementedError

    def count(self, subset: str, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch to the scores of the current epoch of a subset."""
        raise NotImplementedError

    def learned_targets(self, batch: Batch, subset: str) -> Tensor:
        """Returns the targets of the loss, (B, ...): those of the batch, unless the task learns from other entries."""
        return batch[self.target.name]

    def count_batch(self, subset: str, outputs: Tensor, batch: Batch, loss: Tensor) -> None:
        """Like :meth:`count`, for tasks whose scores need more entries of the batch than the target."""
        self.count(subset, outputs, batch[self.target.name], loss)

    def log_scores(self, subset: str) -> None:
        """Logs the scores of the epoch that ends, including ``loss``, and fills :attr:`scores`."""
        raise NotImplementedError

    def predictions(self, samples: pd.DataFrame, recorded: dict[str, np.ndarray]) -> pd.DataFrame:
        """Returns the table of predictions of a validation or a test.

        Args:
            samples: n rows of the sample table, indexed by their row number.
            recorded: the :meth:`recorded_outputs` of these samples, each entry of shape (N, ...).
        """
        raise NotImplementedError

    def measure(self, predictions: pd.DataFrame) -> dict[str, Any]:
        """Computes the results of a table of test predictions.

        Returns:
            Entries of :class:`fervid.schema.run_record.Results`: ``task``, the name of the task; ``metrics``, by names
            such as ``test/uar``; and entries specific to the task.
        """
        raise NotImplementedError

    # Frozen and trainable stages

    @property
    def backbone(self) -> Backbone:
        """The encoder of the pictures.

        Raises:
            InputError: if the network has none.
        """
        backbone = self.network.encoders.get(Backbone.modality)
        if not isinstance(backbone, Backbone):
            raise InputError(f"a network of {' and '.join(self.network.modalities)} does not process pictures.")
        return backbone

    @property
    def head(self) -> Head | Fusion:
        """What maps the features of the encoders to outputs."""
        return self.network.head

    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Returns the outputs (B, ...).

        Args:
            inputs: the input of each modality by its name, or the input of the only modality; pictures are
                (B, 3, H, W) in [0, 1]. A fusion accepts inputs in which a modality is missing.
        """
        modalities = self.network.modalities
        given = {modalities[0]: inputs} if isinstance(inputs, Tensor) else inputs
        return self._join(self._vectors(given, [name for name in modalities if name in given]))

    def outputs_by_modality(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the outputs (B, ...), and if the network answers with modalities missing, those from each given one.

        Args:
            inputs: the input of each modality by its name; a fusion accepts inputs in which a modality is missing.
        """
        vectors = self._vectors(inputs, [name for name in self.network.modalities if name in inputs])
        return self._join(vectors), self._alone(vectors)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns one optimizer for the whole training, with the groups of :func:`parameter_groups`."""
        groups = parameter_groups(self.network, layer_decay=self.layer_decay, decay_norms=self.decay_norms)
        if parameters := self.loss_parameters():
            groups.append({"params": parameters, "name": "loss", "lr_factor": 1.0, "weight_decay": 0.0})
        try:
            optimizer = self.optimizer(groups)
        except (TypeError, ValueError) as error:
            raise InputError(f"the optimizer rejects its settings: {first_line(error)}.") from error
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_factor"]
        return optimizer

    def setup(self, stage: str) -> None:
        """Checks settings that need the trainer.

        Raises:
            InputError: if SAM is combined with accumulated gradients, whose batches it would have to process again; or
                if inputs cannot be mixed or mirrored.
        """
        modalities = self.network.modalities
        if stage == "fit" and self.mixing is not None and len(modalities) > 1:
            raise InputError(
                f"mixup and CutMix mix a single modality, but the sample has {' and '.join(modalities)}: set "
                "task.mixup and task.cutmix to 0."
            )
        if stage == "fit" and self.mixing is not None and self.mixing.cutmix and Backbone.modality not in modalities:
            raise InputError(f"CutMix cuts pictures, but the sample has {modalities[0]}: set task.cutmix to 0.")
        if stage == "fit" and self.test_flips and Backbone.modality not in modalities:
            raise InputError("task.test_flips=true mirrors pictures, which the sample does not have: set it to false.")
        if stage == "fit" and self.sam and self.trainer.accumulate_grad_batches > 1:
            raise InputError(
                f"task.sam={self.sam} needs an optimizer step for each batch, but trainer.accumulate_grad_batches="
                f"{self.trainer.accumulate_grad_batches}: set one of the two to 0 or 1."
            )

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        if self.sam and optimizer_closure is not None:
            optimizer_closure = partial(
                sharpness_aware_gradients, optimizer_closure, self, self.sam, self._not_counted()
            )
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    @contextmanager
    def _not_counted(self) -> Iterator[None]:
        """Keeps batches out of the scores."""
        self._is_counted = False
        try:
            yield
        finally:
            self._is_counted = True

    # Steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.mixing is None:
            return self._step(batch, "train")[0]
        (modality,) = self.network.modalities
        mixed, share = self.mixing(batch[modality])
        outputs = self._outputs({**batch, modality: mixed})
        own = {name: values for name, values in batch.items() if name != modality}
        others = {name: values.roll(1, 0) for name, values in own.items()}
        loss = share * self.loss_of(outputs, self.learned_targets(own, "train"))
        loss = loss + (1 - share) * self.loss_of(outputs, self.learned_targets(others, "train"))
        larger = {name: torch.where(share >= 0.5, values, others[name]) for name, values in own.items()}
        if self._is_counted:
            self.count_batch("train", outputs, larger, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Returns the ``index`` (B,) and the :meth:`recorded_outputs` of a batch for the callbacks."""
        return {"index": batch["index"], **self.recorded_outputs(self._step(batch, "val")[1])}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Like :meth:`validation_step`, with several modalities also for each of them alone."""
        vectors = self._vectors(batch, self.network.modalities)
        outputs = self._join(vectors)
        self._count(batch, "test", outputs)
        recorded = {"index": batch["index"], **self.recorded_outputs(outputs)}
        for name, alone in self._alone(vectors).items():
            recorded |= {f"{entry}_{name}": values for entry, values in self.recorded_outputs(alone).items()}
        return recorded

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Like :meth:`validation_step`, but without scores."""
        return {"index": batch["index"], **self.recorded_outputs(self._outputs(batch))}

    def on_train_epoch_end(self) -> None:
        self.log_scores("train")

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        self.log_scores("test")

    def _vectors(self, batch: Mapping[str, Tensor], modalities: Sequence[str]) -> Vectors:
        """Returns the vectors of some modalities of a batch, which has their inputs or cached features."""
        own, mirrored = {}, {}
        for name in modalities:
            branch = self.network.branches[name]
            if cached_name(name) in batch:
                own[name] = branch.trainable_part(batch[cached_name(name)])
                if mirrored_name(name) in batch:
                    mirrored[name] = branch.trainable_part(batch[mirrored_name(name)])
            else:
                own[name] = branch(batch[name])
                if self.test_flips and not self.training and name == Backbone.modality:
                    mirrored[name] = branch(batch[name].flip(-1))
        return own, mirrored

    def _join(self, vectors: Vectors, modalities: Sequence[str] | None = None) -> Tensor:
        """Returns the outputs for vectors, or for those of some modalities."""
        own, mirrored = ({n: x for n, x in each.items() if modalities is None or n in modalities} for each in vectors)
        outputs = self.network.join(own)
        return (outputs + self.network.join(own | mirrored)) / 2 if mirrored else outputs

    def _alone(self, vectors: Vectors) -> dict[str, Tensor]:
        """Returns the outputs from each modality alone, if the network answers without the others."""
        names = vectors[0] if self.network.can_miss else ()
        return {name: self._join(vectors, [name]) for name in names}

    def _outputs(self, batch: Batch) -> Tensor:
        return self._join(self._vectors(batch, self.network.modalities))

    def _count(self, batch: Batch, subset: str, outputs: Tensor) -> Tensor:
        """Adds a batch to the scores, and returns its loss."""
        loss = self.loss_of(outputs, self.learned_targets(batch, subset))
        if self._is_counted:
            self.count_batch(subset, outputs, batch, loss)
        return loss

    def _step(self, batch: Batch, subset: str) -> tuple[Tensor, Tensor]:
        outputs = self._outputs(batch)
        return self._count(batch, subset, outputs), outputs
