"""Metadata of an exported file: all that another program needs to use the network."""

import json
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig

from fervid.export.model_card import faces_in_words, network_name, weights_licence, without_folders
from fervid.export.networks import classifies_pictures
from fervid.export.part_card import output_words
from fervid.metrics.parts import MAIN_SCORES
from fervid.models.backbone import Backbone
from fervid.models.feature_encoder import Columns
from fervid.models.log_mel import RATE
from fervid.models.pretrained import PretrainedBackbone
from fervid.models.sound_encoders import SoundEncoder
from fervid.models.stages import MADE
from fervid.models.transformers_stages import WhisperStem
from fervid.schema.parts import as_entry
from fervid.schema.weights import describe_weights, trained_weights_info
from fervid.tasks.classification import EmotionClassifier
from fervid.tasks.task import Task

MISSING = (
    "the end of a sequence that is shorter than the batch, and all values of a modality that a clip lacks, are NaN; "
    "outputs without any input are NaN"
)


def describe(results: dict[str, Any], config: DictConfig, model: Task) -> dict[str, str]:
    """Returns the metadata for an exported file.

    Args:
        results: the contents of the run's ``results.json``.
        config: the run's configuration.
        model: the run's classifier.

    Returns:
        Texts as they are, all other values as JSON.
    """
    own = _about_pictures(config, model) if classifies_pictures(model) else _about_clips(config, model)
    metadata: dict[str, Any] = {
        **_about_targets(results, model),
        "test_flips": model.test_flips,
        **own,
        "head": type(model.head).__name__,
        "corpus": results["data"]["corpus"],
        "split": results["choices"].get("split") or "unknown",
        "leakage": results["leakage"]["level"],
        "fervid_version": results.get("versions", {}).get("fervid") or "unknown",
        "git_revision": results.get("git_revision") or "unknown",
        "licence": weights_licence(results),
        "initial_weights": " ".join(describe_weights(results.get("weights") or {})) or "random",
        "weights_info": asdict(trained_weights_info(results)),
    }
    return {
        name: without_folders(value) if isinstance(value, str) else json.dumps(value)
        for name, value in metadata.items()
    }


def _about_targets(results: dict[str, Any], model: Task) -> dict[str, Any]:
    """Describes what is predicted, and how well on the test subset."""
    if isinstance(model, EmotionClassifier):
        return {"class_names": model.class_names, "test_uar": results["metrics"].get("test/uar")}
    names = [MAIN_SCORES[part.name] for part in model.parts]
    return {
        "parts": as_entry(model.parts),
        "test_scores": {name: results["metrics"].get(f"test/{name}") for name in names},
    }


def _about_pictures(config: DictConfig, model: Task) -> dict[str, Any]:
    backbone = model.backbone
    pretrained = isinstance(backbone, PretrainedBackbone)
    return {
        **_about_faces(config, backbone),
        "input": "faces: float32 (B, 3, image_size, image_size), RGB in [0, 1], any B; normalisation, channel order "
        "and the averaging over mirror images, if test_flips is true, are part of the network, except in safetensors, "
        "which contains only weights",
        "output": "logits: float32 (B, number of class_names); apply softmax to obtain probabilities"
        if isinstance(model, EmotionClassifier)
        else "; ".join(f"{part.name}: {output_words(part)}" for part in model.parts),
        "network": str(config.backbone.name) if pretrained else type(backbone).__name__,
        "library": str(config.backbone.get("library") or "torchvision") if pretrained else "fervid",
        "stages": backbone.stages,
    }


def _about_faces(config: DictConfig, backbone: Backbone) -> dict[str, Any]:
    return {
        "image_size": backbone.image_size,
        "mean": [round(value, 6) for value in backbone.mean.flatten().tolist()],
        "std": [round(value, 6) for value in backbone.std.flatten().tolist()],
        "channel_order": backbone.channel_order,
        "grayscale": bool(config.dataset.get("grayscale", False)),
        "faces": faces_in_words(config),
    }


def _about_clips(config: DictConfig, model: Task) -> dict[str, Any]:
    encoders = model.network.encoders
    about: dict[str, Any] = {"modalities": list(encoders), "inputs": describe_inputs(config, model), "missing": MISSING}
    for encoder in encoders.values():
        if isinstance(encoder, Backbone):
            about |= {**_about_faces(config, encoder), "frames": config.sample.frames, "window": config.sample.window}
        elif isinstance(encoder, SoundEncoder):
            about |= {"rate": RATE, "min_samples": encoder.min_samples}
        elif isinstance(encoder, Columns):
            about["features"] = encoder.names
    outputs = "probabilities and logits: float32 (B, number of class_names)"
    if len(encoders) > 1:
        outputs += "; probabilities_<modality>: those of one modality alone, NaN where it is missing"
    return about | {
        "output": outputs,
        "network": {name: network_name(config, name) for name in encoders},
        "library": "fervid",
        "stages": {name: encoder.stages for name, encoder in encoders.items()},
    }


def describe_inputs(config: DictConfig, model: Task) -> dict[str, str]:
    """Describes the input of each modality of a classifier of clips, by its name."""
    inputs = {}
    for name, encoder in model.network.encoders.items():
        if isinstance(encoder, Backbone):
            size = encoder.image_size
            middle = " in the middle half" if config.sample.window == "centre" else ""
            inputs[name] = (
                f"float32 (B, T, 3, {size}, {size}): T face crops of each clip in the order of time, RGB from 0 to 1; "
                f"trained on {config.sample.frames} crops per clip, evenly spaced{middle}"
            )
        elif isinstance(encoder, SoundEncoder):
            limits = [
                len(stage.positions) * stage.step for stage in encoder.modules() if isinstance(stage, WhisperStem)
            ]
            longest = f", at most {limits[0]:g} seconds" if limits else ""
            inputs[name] = (
                f"float32 (B, S): mono sound with {RATE:,} samples per second, from -1 to 1; at least "
                f"{encoder.min_samples} samples{longest}"
            )
        else:
            assert isinstance(encoder, Columns)
            inputs[name] = (
                f"float32 (B, R, {len(encoder.names)}): R rows of each clip, not standardised, with the columns "
                f"{', '.join(encoder.names)}"
            )
    return inputs


def runs_alone(about: dict[str, str]) -> bool:
    """Whether the weights of a classifier need only torchvision: its stages are followed by the linear head."""
    if "modalities" in about or "parts" in about:
        return False
    is_plain = MADE.isdisjoint(json.loads(about["stages"]))
    return is_plain and (about["library"], about["head"]) == ("torchvision", "LinearHead")
