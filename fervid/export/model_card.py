"""Writes the model card of a run in Markdown (after Mitchell et al. 2019, Model Cards for Model Reporting)."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from omegaconf import DictConfig, OmegaConf

from fervid.cli.overrides import printed_command
from fervid.errors import InputError
from fervid.export.part_card import headline, limits, part_cards
from fervid.faces.cropping import FACE_SIDE, Alignment
from fervid.metrics.aggregation import class_indices, clip_predictions, confusion
from fervid.metrics.calibration import expected_calibration_error
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, bootstrap_unit, run_confusions
from fervid.report.score_tables import MIN_TEST_FRAMES
from fervid.runs.build import ENCODERS
from fervid.runs.run import Run
from fervid.schema.columns import SEX, grouping_columns, keys
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.manifest import SPLITS
from fervid.schema.parts import CLASSIFICATION
from fervid.schema.people import describe_people
from fervid.schema.predictions import probabilities
from fervid.schema.weights import RESEARCH_ONLY, UNKNOWN, is_research_only, pretraining_sentences
from fervid.storage.escaping import markdown_code, markdown_text

# Settings of a backbone that its weights belong to.
SHAPING = ("name", "last_stage", "image_size", "mean", "std", "channel_order")
PICTURES = "image"
KINDS = {"image": "Facial emotion", "sound": "Speech emotion", "image sound": "Audio-visual emotion"}  # by modalities
RESAMPLES = 2000  # bootstrap resamples
MIN_TEST_SUBJECTS = 20  # below this, the card warns that other subjects may give a quite different score


def model_card(
    run: Run, config: DictConfig, files: Sequence[str] = (), inputs: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Returns the model card of a run.

    Args:
        run: the finished run.
        config: the run's configuration, checked by :func:`fervid.runs.load.stored_config`.
        files: names of the files in the same folder: exported networks and example scripts.
        inputs: description of the input of each modality, if the network classifies clips.

    Returns:
        Markdown, without any path of this machine.

    Raises:
        InputError: if the run's predictions cannot be read, or its results lack an entry of the card.
    """
    try:
        return _render(run, config, files, inputs)
    except (KeyError, UndefinedError) as error:
        raise InputError(
            f"the results.json of {run.folder} lacks an entry of the model card ({error}): train the run again."
        ) from error


def _render(run: Run, config: DictConfig, files: Sequence[str], inputs: Mapping[str, str]) -> str:
    results, frames = run.results, run.predictions
    names = list(results.get("class_names", []))  # empty if the run does not predict emotions
    parts = [] if run.task == CLASSIFICATION else run.parts
    clips = clip_predictions(frames, names) if names else frames
    unit = "clips" if inputs else "frames"
    units = [(unit, frames)] + ([("clips", clips)] if len(clips) < len(frames) else [])
    rates = {key: results.get(key) or {} for key in ("recall", "precision")}
    groups = grouping_columns(frames) if names else []
    environment = Environment(
        loader=PackageLoader("fervid.export", ""), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"text": markdown_text, "code": markdown_code}
    environment.filters |= {"percent": _percent, "number": lambda value: f"{value:,}"}
    text = environment.get_template("model_card.md.jinja").render(
        results=results,
        config=config,
        names=names,
        parts=part_cards(run) if parts else [],
        headline=headline(run) if parts else "",
        limits=limits(parts),
        corpus=corpus_name(run),
        inputs=inputs,
        unit=unit,
        kind=KINDS.get(" ".join(inputs) or PICTURES, "Emotion"),
        weak=_weak_emotions(results, names, unit) if names else [],
        subsets=SPLITS,
        files=files,
        test_flips=bool(config.task.get("test_flips")),
        training=None if inputs else _training_command(results, config),
        groups_of_weights=[ENCODERS[name] for name in inputs if name != "features"],
        examples=[file for file in files if file.endswith(".py")],
        needs_fervid="model.safetensors" in files and "run_safetensors.py" not in files,
        network=" and ".join(network_name(config, name) for name in inputs or [PICTURES]),
        between=_between(config) if inputs else "",
        head=config.head._target_.rsplit(".", 1)[-1],
        first_weights=first_weights(results),
        data_licence=data_licence(results),
        weights_licence=weights_licence(results),
        citation="; ".join(corpus["citation"] for corpus in run.corpora if corpus["citation"]),
        expressions=[corpus["expressions"] for corpus in run.corpora],
        faces=None if inputs and PICTURES not in inputs else faces_in_words(config),
        level_sentence=run.level.sentence,
        people=describe_people(results["leakage"]),
        pretraining=pretraining_sentences(results["leakage"].get("weights", {})),
        test_subjects=int(keys(frames, "subject").nunique()),
        min_test_subjects=MIN_TEST_SUBJECTS,
        subjects_known=bootstrap_unit(frames) == "subject",
        scores=[(name, *_scored(table, names)) for name, table in units] if names else [],
        tested=len(frames),
        emotions=[
            (name, int(total), rates["recall"].get(name), rates["precision"].get(name))
            for name, total in zip(names, confusion(frames, names).sum(axis=1) if names else [], strict=True)
        ],
        sexes=next((_by_group(frames, column, names) for column in groups if column in SEX), []),
        groups=[row for column in groups if column not in SEX for row in _by_group(frames, column, names)],
        **(_calibration(frames, names) if names else {}),
        settings=_settings(results, config),
        warnings=[without_folders(warning) for warning in results.get("warnings", [])],
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def corpus_name(run: Run) -> str:
    """Returns the names of a run's corpora; for the user's own files, including the name of their folder."""
    names = [
        corpus["name"]
        if corpus["published"] or not corpus["root"]
        else f"{Path(corpus['root']).name} ({corpus['name']})"
        for corpus in run.corpora
    ]
    return " and ".join(names)


def _weak_emotions(results: dict[str, Any], names: Sequence[str], unit: str) -> list[str]:
    """Returns the emotions with few test frames or clips, or a recall below chance, in Markdown."""
    weak = []
    for name in names:
        tested = int(results["data"]["emotion_by_split"].get(name, {}).get("test", 0))
        recall = results["recall"].get(name)
        if tested < MIN_TEST_FRAMES or (recall is not None and recall < 1 / len(names)):
            share = "not tested" if recall is None else f"{recall:.0%} of {tested} test {unit} correct"
            weak.append(f"{markdown_text(name)} ({share})")
    return weak


def network_name(config: DictConfig, modality: str) -> str:
    """Returns the name of the encoder of a modality."""
    settings = config[ENCODERS[modality]]
    name = str(settings.get("name") or settings.get("architecture") or settings._target_.rsplit(".", 1)[-1])
    return name + (f" up to {settings.last_stage}" if settings.get("last_stage") else "")


def _between(config: DictConfig) -> str:
    """Names what follows the encoders of clips: the pooling over time and the fusion."""
    parts = [config[group]._target_.rsplit(".", 1)[-1] for group in ("pooling", "fusion") if config.get(group)]
    return "".join(f", {part}" for part in parts)


def faces_in_words(config: DictConfig) -> str:
    """Describes how a run's faces were detected and cropped.

    Args:
        config: the run's configuration.
    """
    detector = {"HaarDetector": "OpenCV's Haar cascades", "YuNetDetector": "YuNet"}.get(
        str((config.get("detector") or {}).get("_target_", "")).rsplit(".", 1)[-1]
    )
    gray = ", in grayscale" if config.dataset.get("grayscale", False) else ""
    if detector is None:
        return f"central square of a picture that shows one face{gray}"
    margin = config.dataset.get("margin", Alignment.margin)
    return (
        f"detected by {detector}, rotated so that the eyes are level, cropped to a square of {FACE_SIDE} eye distances "
        f"plus a margin of {margin:.0%} of that on each side{gray}"
    )


def first_weights(results: dict[str, Any]) -> str:
    """Describes the source, the data and the terms of the backbone's initial weights, in Markdown sentences.

    Args:
        results: the contents of the run's ``results.json``.
    """
    weights = results.get("weights") or {}
    source, requested = weights.get("source", "random"), without_folders(str(weights.get("requested") or ""))
    requested = requested.replace("\\", "/").rsplit("/", 1)[-1] if source in ("file", "random") else requested
    sha256 = f" (sha256 {markdown_code(weights['sha256'])})" if weights.get("sha256") else ""
    if source == "random":
        missing = f" ({markdown_text(requested)} was requested but not available)" if weights.get("missing") else ""
        return f"random{missing}; the network was trained only on the data above."
    data, licence = (markdown_text(without_folders(weights.get(name) or UNKNOWN)) for name in ("data", "licence"))
    origin = f"the file {markdown_code(requested)}" if source == "file" else f"{markdown_code(requested)} of {source}"
    research = f" **{RESEARCH_ONLY}**" if is_research_only(weights) else ""
    return f"{origin}{sha256}, trained on {data}. Licence of these weights and their data: {licence}.{research}"


def data_licence(results: dict[str, Any]) -> str:
    """Returns the licences of a run's corpora.

    Args:
        results: the contents of the run's ``results.json``.
    """
    return "; ".join(dict.fromkeys(corpus["licence"] for corpus in results["data"]["corpora"]))


def weights_licence(results: dict[str, Any]) -> str:
    """Describes the terms of the trained weights in one sentence.

    Args:
        results: the contents of the run's ``results.json``.
    """
    return (
        "no licence is stated; anyone who redistributes the weights must respect the terms of the data "
        f"({data_licence(results).split(':')[0]}) and of the initial weights"
    )


def without_folders(text: str) -> str:
    """Shortens every file path in a text to its last component; URLs are kept.

    Args:
        text: the text.
    """
    text = re.sub(r"(?<![\w:/.~])~?(?:\.{0,2}/)(?:[^/\s]+/)*(?=[^/\s])", "", text)
    return re.sub(r"\b[A-Za-z]:\\(?:[^\\\s]+\\)*", "", text)


Scored = tuple[int, dict[str, float], dict[str, tuple[float, float]]]


def _scored(table: pd.DataFrame, names: list[str]) -> Scored:
    """Returns the number of rows, their scores and the 95% intervals of these."""
    counts = run_confusions(table.assign(run=0), names, bootstrap_unit(table))[0]
    return len(table), scores(confusion(table, names)).means(), bootstrap_intervals(counts, resamples=RESAMPLES)


def _calibration(frames: pd.DataFrame, names: list[str]) -> dict[str, float]:
    """Returns the expected calibration error and the mean confidence."""
    values = probabilities(frames, names)
    error = expected_calibration_error(values, class_indices(frames["label"], names))
    return {"calibration": error, "confidence": float(values.max(axis=1).mean())}


def _by_group(frames: pd.DataFrame, column: str, names: list[str]) -> list[tuple[str, str, int, Scored]]:
    """Returns the column, the value, the number of subjects and the scores for each value of a column."""
    return [
        (column, str(value), int(keys(rows, "subject").nunique()), _scored(rows, names))
        for value, rows in frames.groupby(column)
    ]


def _training_command(results: dict[str, Any], config: DictConfig) -> str:
    """Returns the command that starts a new training from the weights, with the settings that differ from the yaml."""
    choice = results["choices"].get("backbone")
    file = Path(CONFIG_FOLDER) / "backbone" / f"{choice}.yaml"
    preset: Any = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else {}  # not one of the user's own
    used: Any = OmegaConf.to_container(config.backbone)
    settings = {f"backbone.{key}": used[key] for key in SHAPING if key in used and used[key] != preset.get(key)}
    usual = preset.get("options") or {}
    options = {key: value for key, value in (used.get("options") or {}).items() if value != usual.get(key)}
    settings |= {f"++backbone.options.{key}": value for key, value in options.items()}
    settings = {"backbone": choice, **settings, "backbone.weights": "model.safetensors"}
    return printed_command("fervid.train", [], settings, python="python")


def _settings(results: dict[str, Any], config: DictConfig) -> list[tuple[str, str]]:
    """Returns the training settings as names and values, without paths of this machine."""
    choices = results["choices"]
    phases = [
        f"{phase['name']}: at most {phase['epochs']} epochs, unfreeze from {phase['unfreeze_from']}, "
        f"learning-rate factor {phase['lr_factor']}"
        for phase in (config.get("finetune") or {}).get("phases", [])
    ]
    optimizer = config.get("optimizer") or {}
    values = {key: value for key, value in optimizer.items() if not str(key).startswith("_")}
    solver = f"{choices.get('optimizer')} ({_pairs(values)})"
    is_probe = "probe" in results and not phases
    if probe := results.get("probe"):
        strengths = ", ".join(f"{each['strength']:g}" for each in probe.values())
        probing = f"L-BFGS (scikit-learn), inverse regularisation strength C {strengths}"
        frozen = "backbone" if list(probe) == [PICTURES] else "encoders"
        refit = ", of training and validation samples" if config.finetune.get("refit") else ""
        phases = [f"linear probe: logistic regression on standardised features of the frozen {frozen}{refit}", *phases]
        solver = probing if is_probe else f"of the probe: {probing}; then {solver}"
    settings = {
        "split": f"{choices.get('split')} ({_pairs(config.get('split') or {})})",
        "augmentation": choices.get("augmentation"),
        "fine-tuning": "; ".join(phases),
        "optimizer": solver,
        "scheduler": None if is_probe else choices.get("scheduler"),
        "recipe": choices.get("recipe"),
        "loss": None if is_probe else _pairs((config.get("task") or {}).get("loss") or {}),
        "batch size": None if is_probe else config.dataset.get("batch_size"),
        "test flips": "yes" if config.task.get("test_flips") else None,
        "precision": results.get("trainer_precision"),
        "seed": results.get("seed"),
        "epochs": f"{results['epochs']}, weights of epoch {results['best_epoch']}" if "epochs" in results else None,
        "git revision": results.get("git_revision"),
    }
    return [(name, without_folders(str(value))) for name, value in settings.items() if value not in (None, "")]


def _pairs(values: Any) -> str:
    return ", ".join(
        f"{key} ({_pairs(value)})" if isinstance(value, Mapping) else f"{key} {value}"
        for key, value in values.items()
        if not str(key).startswith("_")
    )


def _percent(value: float | tuple[float, float] | None) -> str:
    """Formats a fraction as ``40.1%``, an interval as ``40.1% to 50.2%`` and a missing value as a dash."""
    if value is None or np.isnan(value).any():
        return "-"
    if isinstance(value, tuple):
        return f"{value[0]:.1%} to {value[1]:.1%}"
    return f"{value:.1%}" if math.isfinite(value) else "-"  # type: ignore[arg-type, str-format]
