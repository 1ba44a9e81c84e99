"""Opens what a run left, however it came here: nothing in a run folder chooses what code runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from fervid import data
from fervid.errors import InputError, first_line
from fervid.models.classifier import EmotionClassifier
from fervid.training import make_network

# What the parts of a stored configuration may call.
OWN = {
    "backbone": ("fervid.models.",),
    "head": ("fervid.models.",),
    "detector": tuple(f"fervid.data.detection.{kind}Detector" for kind in ("Haar", "YuNet", "No")),
    "dataset": (
        *(f"fervid.data.{name}" for name in data.__all__),
        *(f"fervid.data.detection.{kind}Detector" for kind in ("Haar", "YuNet", "No")),
    ),
    "split": ("fervid.data.splits.",),
}


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
    results = read_results(folder)
    config, class_names = stored_config(results, folder), results["class_names"]
    if "head" not in config:
        raise InputError(f"{folder} holds the classical baseline: it has no network that could be opened.")
    try:
        state = torch.load(folder / "checkpoints" / f"{checkpoint}.ckpt", map_location="cpu", weights_only=True)
        weights = state["state_dict"]
    except Exception as error:  # torch has its own kinds for damaged files
        raise InputError(
            f"{folder} holds no {checkpoint} checkpoint that can be opened ({first_line(error)})."
        ) from error
    config.backbone.weights = None  # the run's own come in their place
    backbone, head = make_network(config, len(class_names))
    model = EmotionClassifier(backbone, head, class_names)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"the {checkpoint} checkpoint of {folder} does not fit its configuration.") from error
    return model.eval()


def read_results(folder: Path) -> dict[str, Any]:
    """What a finished run wrote down.

    Raises:
        InputError: if there is nothing, or what another version of fervid left.
    """
    from fervid.evaluation.runs import open_run

    try:
        return open_run(folder.expanduser()).results
    except InputError as error:
        raise InputError(f"{folder} holds no finished run that can be opened: {error}.") from error


def stored_config(results: dict[str, Any], folder: Path) -> DictConfig:
    """The configuration of a run, of which nothing but fervid's own classes will be called.

    Args:
        results: of :func:`read_results`.
        folder: where they come from, for the error.

    Raises:
        InputError: if it names other code, or is no configuration.
    """
    try:
        config = OmegaConf.create(results["config"])
        assert isinstance(config, DictConfig)
        parts = {part: list(_targets(config[part])) for part in OWN if config.get(part) is not None}
    except Exception as error:  # omegaconf has a dozen kinds
        raise InputError(f"the configuration of {folder} cannot be read ({first_line(error)}).") from error
    for part, targets in parts.items():
        for target in targets:
            if not any(target == own or (own.endswith(".") and target.startswith(own)) for own in OWN[part]):
                raise InputError(
                    f"{folder} names {target} in its configuration: only fervid's own classes can be opened."
                )
    return config


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
