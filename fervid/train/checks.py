"""Checks of settings before the corpus is prepared or before the first training step, and of the trained network."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fervid.callbacks import FreezeThenFineTune
from fervid.data.datamodule import EmotionDataModule
from fervid.data.stores import SequenceStore
from fervid.errors import InputError, first_line
from fervid.media.sound import RATE
from fervid.models.sound_encoders import SoundEncoder
from fervid.runs.build import task_class
from fervid.tasks.task import Task

log = logging.getLogger(__name__)


def check_monitor(config: DictConfig, finetune: FreezeThenFineTune) -> None:
    """Raises an InputError if the task does not log the score ``finetune.monitor``."""
    monitors = task_class(config).monitors
    if finetune.monitor not in monitors:
        raise InputError(f"finetune.monitor={finetune.monitor} is not logged: choose one of {', '.join(monitors)}.")


def check_optimizer(config: DictConfig, finetune: FreezeThenFineTune) -> None:
    """Raises an InputError if the optimizer or the learning rate schedule rejects its settings."""
    try:
        optimizer = instantiate(config.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the optimizer rejects its settings: {first_line(error)}.") from error
    finetune.make_schedule(optimizer)


@torch.no_grad()
def check_single_frame(model: Task, finetune: FreezeThenFineTune) -> None:
    """Raises an InputError if, with one frame per batch, a BatchNorm would see a single value per channel."""
    for phase in finetune.phases:
        trial = copy.deepcopy(model)  # a forward pass changes the running statistics of BatchNorm
        trial.network.freeze_before(trial.network.stage_numbers(phase.unfreeze_from))
        trial.train()
        try:
            with torch.random.fork_rng():
                trial({name: branch.example() for name, branch in trial.network.branches.items()})
        except ValueError as error:
            raise InputError(
                f"dataset.batch_size=1 is too small for the batch statistics of BatchNorm in phase {phase.name!r}: "
                "give 2 or more, or backbone.freeze_batchnorm=true."
            ) from error


def check_lengths(model: Task, datamodule: EmotionDataModule) -> None:
    """Checks that the sound encoder accepts the lengths of all sounds.

    Raises:
        InputError: if a sound is too short or too long; names the first one.
    """
    encoder, store = model.network.encoders.get("sound"), datamodule.stores.get("sound")
    if not isinstance(encoder, SoundEncoder) or not isinstance(store, SequenceStore):
        return
    samples = datamodule.samples
    lengths = store.rows.lengths[samples["clip_row"].to_numpy()]
    unusable = (lengths < encoder.min_samples) | (lengths > encoder.max_samples)
    if unusable.any():
        first = int(np.flatnonzero(unusable)[0])
        raise InputError(
            f"{unusable.sum()} of {len(samples)} sounds cannot be used (first: {samples['clip'].iloc[first]}, "
            f"{lengths[first] / RATE:.2f} s): this sound encoder accepts {encoder.min_samples / RATE:g} to "
            f"{encoder.max_samples / RATE:g} s; divide longer recordings, and remove shorter ones from the corpus."
        )


def warn_of_one_class(predictions: pd.DataFrame, *, sam: float = 0.0) -> None:
    """Warns if a network predicts the same class for all validation samples, although their labels differ.

    Args:
        predictions: one row per validation sample, with ``label`` and ``predicted``.
        sam: radius of the sharpness-aware minimisation; 0: it was not used.
    """
    if not {"label", "predicted"} <= set(predictions.columns):  # of a task of the user's own
        return
    if predictions["predicted"].nunique() == 1 < predictions["label"].nunique():
        log.warning(
            "the network predicts %s for all %d validation samples, so it has not learned to tell the classes apart: "
            "use a smaller %s, scheduler=warmup_cosine, more epochs, or finetune=linear_probe.",
            *(
                predictions["predicted"].iloc[0],
                len(predictions),
                "task.sam or optimizer.lr" if sam else "optimizer.lr",
            ),
        )


@contextmanager
def trainer_mistakes() -> Iterator[None]:
    """Converts errors in the Trainer's settings, some of which Lightning checks only when training starts."""
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(f"the trainer rejects its settings: {first_line(error)}.") from error
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).split()[0]
        raise InputError(
            f"trainer.deterministic=true: {operation} has no deterministic implementation; use "
            "trainer.deterministic=warn to allow it."
        ) from error
