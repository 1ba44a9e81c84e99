"""What whoever is handed a network should know of it, in Markdown (after Mitchell et al. 2019, Model Cards)."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from omegaconf import DictConfig

from fervid.cli.overrides import printed_command
from fervid.errors import InputError
from fervid.faces.cropping import FACE_SIDE, Alignment
from fervid.metrics.aggregation import class_indices, clip_predictions, confusion
from fervid.metrics.calibration import expected_calibration_error
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, bootstrap_unit, run_confusions
from fervid.report.score_tables import MIN_TEST_FRAMES
from fervid.runs.run import Run
from fervid.schema.columns import SEX, grouping_columns, keys
from fervid.schema.manifest import SPLITS
from fervid.schema.predictions import probabilities
from fervid.storage.escaping import markdown_code, markdown_text

RESAMPLES = 2000  # of people
FEW_PEOPLE = 20  # below which an interval says little more than that it is wide


def model_card(run: Run, config: DictConfig, files: Sequence[str] = ()) -> str:
    """The model card of a run.

    Args:
        run: the finished run.
        config: its configuration, which :func:`fervid.runs.load.stored_config` has looked through.
        files: the names of what lies beside it: networks, and the examples that run them.

    Returns:
        Markdown, without the name of any folder of this machine.

    Raises:
        InputError: if the run's predictions cannot be read, or its results lack what a model card says.
    """
    try:
        return _render(run, config, files)
    except (KeyError, UndefinedError) as error:
        raise InputError(
            f"the results.json of {run.folder} lacks what a model card says ({error}): train the run again."
        ) from error


def _render(run: Run, config: DictConfig, files: Sequence[str]) -> str:
    results, frames = run.results, run.predictions
    names = run.class_names
    clips = clip_predictions(frames, names)
    units = [("frames", frames)] + ([("clips", clips)] if len(clips) < len(frames) else [])
    counts = confusion(frames, names)
    rates = {key: results.get(key) or {} for key in ("recall", "precision")}
    chances = probabilities(frames, names)
    groups = grouping_columns(frames)
    environment = Environment(
        loader=PackageLoader("fervid.export", ""), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"text": markdown_text, "code": markdown_code}
    environment.filters |= {"percent": _percent, "number": lambda value: f"{value:,}"}
    text = environment.get_template("model_card.md.jinja").render(
        results=results,
        config=config,
        names=names,
        corpus=corpus_name(run),
        weak=_weak_emotions(results, names),
        sides=SPLITS,
        files=files,
        training=_training_command(results, config),
        examples=[file for file in files if file.endswith(".py")],
        weights_alone="model.safetensors" in files and "run_safetensors.py" not in files,
        network=str(config.backbone.get("name") or config.backbone._target_.rsplit(".", 1)[-1]),
        head=config.head._target_.rsplit(".", 1)[-1],
        first_weights=first_weights(results),
        data_licence=data_licence(results),
        weights_licence=weights_licence(results),
        citation="; ".join(corpus["citation"] for corpus in run.corpora if corpus["citation"]),
        expressions=[corpus["expressions"] for corpus in run.corpora],
        faces=faces_in_words(config),
        level_in_words=run.level.sentence,
        people=int(keys(frames, "subject").nunique()),
        few_people=FEW_PEOPLE,
        people_known=bootstrap_unit(frames) == "subject",
        scores=[(name, *_scored(table, names)) for name, table in units],
        emotions=[
            (name, int(total), rates["recall"].get(name), rates["precision"].get(name))
            for name, total in zip(names, counts.sum(axis=1), strict=True)
        ],
        sexes=next((_by_group(frames, column, names) for column in groups if column in SEX), []),
        groups=[row for column in groups if column not in SEX for row in _by_group(frames, column, names)],
        calibration=expected_calibration_error(chances, class_indices(frames["label"], names)),
        confidence=float(chances.max(axis=1).mean()),
        settings=_settings(results, config),
        warnings=[without_folders(warning) for warning in results.get("warnings", [])],
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def corpus_name(run: Run) -> str:
    """What a run's corpora are called: a folder of one's own files by its name, not only by its kind."""
    names = [
        corpus["name"]
        if corpus["published"] or not corpus["root"]
        else f"{Path(corpus['root']).name} ({corpus['name']})"
        for corpus in run.corpora
    ]
    return " and ".join(names)


def _weak_emotions(results: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The emotions that were hardly tested or are hardly recognised, in Markdown."""
    told = []
    for name in names:
        tested = int(results["data"]["emotion_by_split"].get(name, {}).get("test", 0))
        recall = results["recall"].get(name)
        if tested < MIN_TEST_FRAMES or (recall is not None and recall < 1 / len(names)):
            share = "never tested" if recall is None else f"{recall:.0%} of {tested} test frames right"
            told.append(f"{markdown_text(name)} ({share})")
    return told


def faces_in_words(config: DictConfig) -> str:
    """How a run's faces were found and cut out, in words.

    Args:
        config: of the run.
    """
    finder = {"HaarDetector": "OpenCV's Haar cascades", "YuNetDetector": "YuNet"}.get(
        str((config.get("detector") or {}).get("_target_", "")).rsplit(".", 1)[-1]
    )
    gray = ", in grayscale" if config.dataset.get("grayscale", False) else ""
    if finder is None:
        return f"pictures of a face as they are, their central square{gray}"
    margin = config.dataset.get("margin", Alignment.margin)
    return (
        f"found by {finder}, turned until the eyes are level, cut out as a square of {FACE_SIDE} eye distances and a "
        f"margin of {margin:.0%} of that on each side{gray}"
    )


def first_weights(results: dict[str, Any]) -> str:
    """Where the backbone's first weights came from and what is known of their terms, in one or two Markdown sentences.

    Args:
        results: of the run.
    """
    weights = results.get("weights") or {}
    source, requested = weights.get("source", "random"), without_folders(str(weights.get("requested") or ""))
    requested = requested.replace("\\", "/").rsplit("/", 1)[-1]
    sha256 = f" (sha256 {markdown_code(weights['sha256'])})" if weights.get("sha256") else ""
    if source == "random":
        asked = f" ({markdown_text(requested)} was asked for and could not be had)" if weights.get("missing") else ""
        return f"Random{asked}: all that the network knows it learned from the data above."
    if source == "file":
        return (
            f"The file {markdown_code(requested)}{sha256}; fervid does not know its terms. If it comes from a training "
            "on ImageNet, as torchvision's do: ImageNet's pictures are for research and education that is not "
            "commercial."
        )
    terms = (
        "They were trained on ImageNet, whose pictures are for research and education that is not commercial."
        if "IMAGENET" in requested.upper()
        else "Their terms, and those of the data they were trained on, stand with "
        f"{markdown_text(source)}'s page of the network."
    )
    return f"{markdown_code(requested)} of {markdown_text(source)}{sha256}. {terms}"


def data_licence(results: dict[str, Any]) -> str:
    """The licences of a run's corpora.

    Args:
        results: of the run.
    """
    return "; ".join(dict.fromkeys(corpus["licence"] for corpus in results["data"]["corpora"]))


def weights_licence(results: dict[str, Any]) -> str:
    """What is known of the terms of the trained weights, in one sentence.

    Args:
        results: of the run.
    """
    return (
        "no licence is stated: whoever passes the weights on must heed the terms of the data "
        f"({data_licence(results).split(':')[0]}) and of the first weights"
    )


def without_folders(text: str) -> str:
    """The text with the last part alone of each path of this machine; addresses of pages stay.

    Args:
        text: a sentence.
    """
    text = re.sub(r"(?<![\w:/.~])~?(?:\.{0,2}/)(?:[^/\s]+/)*(?=[^/\s])", "", text)
    return re.sub(r"\b[A-Za-z]:\\(?:[^\\\s]+\\)*", "", text)


Scored = tuple[int, dict[str, float], dict[str, tuple[float, float]]]


def _scored(table: pd.DataFrame, names: list[str]) -> Scored:
    """How many rows there are, their scores and the intervals of these."""
    counts = run_confusions(table.assign(run=0), names, bootstrap_unit(table))[0]
    return len(table), scores(confusion(table, names)).means(), bootstrap_intervals(counts, resamples=RESAMPLES)


def _by_group(frames: pd.DataFrame, column: str, names: list[str]) -> list[tuple[str, str, int, Scored]]:
    """Group, value, people and scores for each value of a column."""
    return [
        (column, str(value), int(keys(rows, "subject").nunique()), _scored(rows, names))
        for value, rows in frames.groupby(column)
    ]


def _training_command(results: dict[str, Any], config: DictConfig) -> str:
    """How a new training starts from the weights."""
    backbone = results["choices"].get("backbone")
    named = {"backbone.name": config.backbone.name} if backbone in ("torchvision", "timm") else {}
    settings = {"backbone": backbone, **named, "backbone.weights": "model.safetensors"}
    return printed_command("fervid.train", [], settings, python="python")


def _settings(results: dict[str, Any], config: DictConfig) -> list[tuple[str, str]]:
    """How it was trained: names and values, without what names folders."""
    choices = results["choices"]
    phases = [
        f"{phase['name']}: {phase['epochs']} epochs from {phase['unfreeze_from']} on, "
        f"learning rate x {phase['lr_factor']}"
        for phase in (config.get("finetune") or {}).get("phases", [])
    ]
    optimizer = config.get("optimizer") or {}
    values = {key: value for key, value in optimizer.items() if not str(key).startswith("_")}
    told = {
        "split": f"{choices.get('split')} ({_pairs(config.get('split') or {})})",
        "augmentation": choices.get("augmentation"),
        "fine-tuning": "; ".join(phases),
        "optimizer": f"{choices.get('optimizer')} ({_pairs(values)})",
        "scheduler": choices.get("scheduler"),
        "loss": _pairs((config.get("task") or {}).get("loss") or {}),
        "batch size": config.dataset.get("batch_size"),
        "precision": results.get("trainer_precision"),
        "seed": results.get("seed"),
        "epochs": f"{results['epochs']}, the weights of epoch {results['best_epoch']} kept"
        if "epochs" in results
        else None,
        "git revision": results.get("git_revision"),
    }
    return [(name, without_folders(str(value))) for name, value in told.items() if value not in (None, "")]


def _pairs(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if not str(key).startswith("_"))


def _percent(value: float | tuple[float, float] | None) -> str:
    """A share in percent, an interval as ``40.1-50.2%``; a dash where there was nothing to measure."""
    if value is None or np.isnan(value).any():
        return "-"
    if isinstance(value, tuple):
        return f"{value[0]:.1%} to {value[1]:.1%}"
    return f"{value:.1%}" if math.isfinite(value) else "-"  # type: ignore[arg-type, str-format]
