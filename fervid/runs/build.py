"""Builds the parts of a run from its configuration."""

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from fervid.data.datamodule import FrameDataModule
from fervid.models.backbone import Backbone
from fervid.models.heads import Head
from fervid.tasks.classification import EmotionClassifier


def make_datamodule(config: DictConfig) -> FrameDataModule:
    """The corpus with its split and augmentation."""
    return instantiate(
        config.dataset,
        image_size=config.backbone.image_size,
        split=instantiate(config.split),
        augmentation=instantiate(config.augmentation) or None,
        cache_dir=config.cache_dir,
        seed=config.seed,
        _convert_="all",
    )


def make_model(config: DictConfig, class_names: list[str], class_counts: np.ndarray | None = None) -> EmotionClassifier:
    """The task, with backbone, head, loss and optimizer.

    Args:
        config: with ``task``, ``backbone``, ``head`` and ``optimizer``.
        class_names: the emotions.
        class_counts: training frames of each, shape (num_classes,); for balanced class weights.
    """
    backbone, head = make_network(config, len(class_names))
    return instantiate(
        config.task,
        backbone=backbone,
        head=head,
        class_names=class_names,
        class_counts=class_counts,
        optimizer=instantiate(config.optimizer),
        _convert_="all",
    )


def make_network(config: DictConfig, num_classes: int) -> tuple[Backbone, Head]:
    """Backbone and the head that fits it."""
    backbone = instantiate(config.backbone, _convert_="all")
    shape = backbone.output_shape()
    return backbone, instantiate(config.head, feature_shape=shape, num_classes=num_classes, _convert_="all")
