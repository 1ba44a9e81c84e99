"""Builds the parts of a run from its configuration."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig
from torch import nn

from fervid.data.datamodule import EmotionDataModule
from fervid.data.samples import Sample
from fervid.data.targets import Target
from fervid.errors import InputError
from fervid.models.encoder import Encoder
from fervid.models.fusion import Fusion
from fervid.models.network import Branch, Network
from fervid.tasks.task import Task

ENCODERS = {"image": "backbone", "sound": "sound_encoder", "features": "feature_encoder"}
"""Group of the configuration with the encoder of each modality."""


def make_sample(config: DictConfig) -> Sample:
    """Builds the kind of sample."""
    return instantiate(config.sample, _convert_="all")


def make_datamodule(config: DictConfig) -> EmotionDataModule:
    """Builds the datamodule with its corpus, split and augmentation, and with the target of the task."""
    with torch.random.fork_rng(devices=[]):  # so that a search for people does not change the weights drawn later
        identity = instantiate(config.get("identity"), _convert_="all")
    return instantiate(
        config.dataset,
        **({"image_size": config.backbone.image_size} if config.get("backbone") else {}),
        sample=make_sample(config),
        split=instantiate(config.split),
        identity=identity,
        target=task_class(config).make_target(**(config.task.get("target") or {})),
        augmentation=instantiate(config.augmentation, _convert_="all") or None,
        sound_augmentation=instantiate(config.get("sound_augmentation"), _convert_="all") or None,
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


def make_model(config: DictConfig, target: Target, feature_names: Sequence[str] = ()) -> Task:
    """Builds the task with its network, loss and optimizer.

    Args:
        config: configuration with ``task``, ``sample``, the encoders, ``head`` and ``optimizer``.
        target: fitted target to learn.
        feature_names: see :func:`make_network`.
    """
    network = make_network(config, target.size, feature_names)
    return instantiate(
        config.task,
        network=network,
        target=target,
        optimizer=instantiate(config.optimizer),
        _convert_="all",
    )


def make_network(config: DictConfig, size: int, feature_names: Sequence[str] = ()) -> Network:
    """Builds the encoders, the pooling, the fusion and the head with ``size`` outputs.

    Args:
        config: configuration with ``sample``, the encoders and ``head``, and with ``pooling`` and ``fusion`` if the
            sample is a clip.
        size: number of outputs.
        feature_names: names of the features, for samples with features.

    Raises:
        InputError: if a part is missing or of the wrong kind.
    """
    sample = make_sample(config)
    encoders = {name: _make_encoder(config, name, feature_names) for name in sample.modalities}
    make_head = partial(instantiate, config.head, num_classes=size, _convert_="all")
    if not sample.is_clip:
        (backbone,) = encoders.values()
        return Network.of_pictures(backbone, make_head(feature_shape=backbone.output_shape()))
    fusion_class: Any = get_class(config.fusion._target_) if len(encoders) > 1 and config.get("fusion") else None
    if len(encoders) > 1 and (fusion_class is None or not issubclass(fusion_class, Fusion)):
        raise InputError(f"a sample of {' and '.join(encoders)} needs a fusion: give fusion=late or another one.")
    keeps_time = fusion_class is not None and fusion_class.over_time
    branches, widths = {}, {}
    for name, encoder in encoders.items():
        reduce = make_head(feature_shape=encoder.output_shape()).reduce if name == "image" else nn.Identity()
        branches[name], widths[name] = _make_branch(config, encoder, reduce, keeps_time=keeps_time)
    if fusion_class is None:
        return Network(branches, make_head(feature_shape=(*widths.values(),)))
    return Network(branches, instantiate(config.fusion, widths=widths, make_head=make_head, _convert_="all"))


def _make_encoder(config: DictConfig, modality: str, feature_names: Sequence[str]) -> Encoder:
    group = ENCODERS[modality]
    if not config.get(group):
        raise InputError(f"a sample with the modality {modality} needs {group}=<name>: give one of conf/{group}.")
    arguments = {"names": list(feature_names)} if modality == "features" else {}
    encoder = instantiate(config[group], **arguments, _convert_="all")
    if not isinstance(encoder, Encoder):
        raise InputError(f"{group}._target_={config[group]._target_} is not an encoder of fervid.")
    return encoder


def _make_branch(config: DictConfig, encoder: Encoder, reduce: nn.Module, *, keeps_time: bool) -> tuple[Branch, int]:
    """Builds the branch of a clip, and returns it with the number of its features.

    Args:
        config: configuration with ``pooling``.
        encoder: the encoder.
        reduce: what turns the features of a frame into a vector, as in a recogniser of frames.
        keeps_time: whether the fusion needs the whole sequence.
    """
    over_time = encoder.modality == "image"
    width = int(reduce(torch.empty(1, *encoder.output_shape(), device="meta")).shape[-1])
    if keeps_time:
        return Branch(encoder, reduce, over_time=over_time), width
    if not config.get("pooling"):
        raise InputError("a clip needs a pooling over time: give pooling=mean or another one.")
    pooling: Any = instantiate(config.pooling, num_features=width, _convert_="all")
    if over_time or any(True for _ in pooling.parameters()):
        return Branch(encoder, reduce, pooling, over_time=over_time), pooling.num_features
    return Branch(encoder, pooling), pooling.num_features  # computed once, with the frozen stages
