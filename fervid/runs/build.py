"""Builds the parts of a run from its configuration."""

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from fervid.data.frame_datamodule import FrameDataModule
from fervid.data.targets import Target
from fervid.errors import InputError
from fervid.models.backbone import Backbone
from fervid.models.heads import Head
from fervid.tasks.task import Task


def make_datamodule(config: DictConfig) -> FrameDataModule:
    """Builds the datamodule with its corpus, split and augmentation, and with the target of the task."""
    with torch.random.fork_rng(devices=[]):  # so that a search for people does not change the weights drawn later
        identity = instantiate(config.get("identity"), _convert_="all")
    return instantiate(
        config.dataset,
        image_size=config.backbone.image_size,
        split=instantiate(config.split),
        identity=identity,
        target=task_class(config).make_target(),
        augmentation=instantiate(config.augmentation, _convert_="all") or None,
        cache_dir=config.cache_dir,
        seed=config.seed,
        _convert_="all",
    )


def task_class(config: DictConfig) -> type[Task]:
    """Returns the class of the task.

    Raises:
        InputError: if ``task._target_`` is not a subclass of :class:`fervid.tasks.task.Task`.
    """
    found = get_class(config.task._target_)
    if not issubclass(found, Task):
        raise InputError(
            f"task._target_={config.task._target_} is not a task: give a subclass of {Task.__module__}.Task."
        )
    return found


def make_model(config: DictConfig, target: Target) -> Task:
    """Builds the task with its backbone, head, loss and optimizer.

    Args:
        config: configuration with ``task``, ``backbone``, ``head`` and ``optimizer``.
        target: fitted target to learn.
    """
    backbone, head = make_network(config, target.size)
    return instantiate(
        config.task,
        backbone=backbone,
        head=head,
        target=target,
        optimizer=instantiate(config.optimizer),
        _convert_="all",
    )


def make_network(config: DictConfig, size: int) -> tuple[Backbone, Head]:
    """Builds the backbone, and a head for its features with ``size`` outputs."""
    backbone = instantiate(config.backbone, _convert_="all")
    shape = backbone.output_shape()
    return backbone, instantiate(config.head, feature_shape=shape, num_classes=size, _convert_="all")
