"""Opens what a run left."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from fervid.errors import InputError, first_line
from fervid.models.classifier import EmotionClassifier
from fervid.training import make_network


def load_run(folder: str | Path, checkpoint: str = "best") -> EmotionClassifier:
    """The trained classifier of a run, ready to be asked.

    Args:
        folder: the run folder.
        checkpoint: ``best`` or ``last``.

    Returns:
        The classifier in ``eval()`` mode on the CPU: float pictures (B, 3, H, W) in [0, 1], H and W its
        ``backbone.image_size``, give logits (B, num_classes) in the order of its ``class_names``.

    Raises:
        InputError: if the folder holds no finished run, or its files are damaged or do not belong together.
    """
    folder = Path(folder).expanduser()
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        config, class_names = OmegaConf.create(results["config"]), results["class_names"]
        state = torch.load(folder / "checkpoints" / f"{checkpoint}.ckpt", map_location="cpu", weights_only=True)
        weights = state["state_dict"]
    except Exception as error:  # torch, json and yaml each have their own kinds for damaged files
        raise InputError(f"{folder} holds no finished run that can be opened ({first_line(error)}).") from error
    assert isinstance(config, DictConfig)
    for target in _targets({"backbone": config.backbone, "head": config.head}):
        if not target.startswith("fervid.models."):  # a folder from elsewhere must not choose what code runs here
            raise InputError(f"{folder} names {target} in its configuration: only fervid's own models can be opened.")
    config.backbone.weights = None  # the run's own come in their place
    backbone, head = make_network(config, len(class_names))
    model = EmotionClassifier(backbone, head, class_names)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"the {checkpoint} checkpoint of {folder} does not fit its configuration.") from error
    return model.eval()


def _targets(config: Any) -> Iterator[str]:
    """Whatever a configuration would have called, at any depth."""
    if isinstance(config, dict | DictConfig):
        for name, value in config.items():
            if name == "_target_":
                yield str(value)
            yield from _targets(value)
    elif isinstance(config, list | ListConfig):
        for value in config:
            yield from _targets(value)
