"""Settings that a run cannot use are refused before the corpus is prepared, or before the first step."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fervid.callbacks import FreezeThenFineTune
from fervid.errors import InputError, first_line
from fervid.runs.build import task_class
from fervid.tasks.task import Task


def check_monitor(config: DictConfig, finetune: FreezeThenFineTune) -> None:
    """Refuses a score that the task does not log."""
    monitors = task_class(config).monitors
    if finetune.monitor not in monitors:
        raise InputError(f"finetune.monitor={finetune.monitor} is not logged: choose one of {', '.join(monitors)}.")


def check_optimizer(config: DictConfig, finetune: FreezeThenFineTune) -> None:
    """Refuses an optimizer or a schedule that does not take its settings."""
    try:
        optimizer = instantiate(config.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the optimizer does not take its settings: {first_line(error)}.") from error
    finetune.make_schedule(optimizer)


@torch.no_grad()
def check_single_frame(model: Task, finetune: FreezeThenFineTune) -> None:
    """Refuses batches of one frame where BatchNorm, in one of the phases, would see a single value a channel."""
    size = model.backbone.image_size
    for phase in finetune.phases:
        tried = copy.deepcopy(model)  # BatchNorm keeps what it sees
        tried.learn_from(tried.backbone.stage_number(phase.unfreeze_from))
        tried.train()
        try:
            with torch.random.fork_rng():
                tried(torch.zeros(1, 3, size, size))
        except ValueError as error:
            raise InputError(
                f"dataset.batch_size=1 has no statistics for BatchNorm in phase {phase.name!r}: give 2 or more, or "
                "backbone.freeze_batchnorm=true."
            ) from error


@contextmanager
def trainer_mistakes() -> Iterator[None]:
    """Around training: some settings of the Trainer are looked at only when it begins."""
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(f"the trainer does not take its settings: {first_line(error)}.") from error
