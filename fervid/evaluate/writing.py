"""Writes evaluations as run folders that a report can read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fervid.evaluate.ensemble import soft_vote
from fervid.evaluate.members import Member, corpus_settings
from fervid.metrics.aggregation import measure
from fervid.models.batch_invariance import BatchInvariance
from fervid.runs.load import stored_config
from fervid.runs.record import describe_data
from fervid.runs.run import Run, open_run
from fervid.schema.columns import FRAME_KEY
from fervid.schema.predictions import predictions_table, probabilities, write_predictions
from fervid.schema.results import write_results


def joint_validation(runs: Sequence[Run], weights: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame | None:
    """Ensemble predictions of the validation frames; None unless all members have the same validation frames."""
    if not all(run.has_validation for run in runs):
        return None
    tables = [run.validation.sort_values(FRAME_KEY, ignore_index=True) for run in runs]
    if not all(table[FRAME_KEY].equals(tables[0][FRAME_KEY]) for table in tables):
        return None
    joint = soft_vote([probabilities(table, emotions) for table in tables], weights)
    return predictions_table(tables[0], joint, emotions)


def training_entries(run: Run, config: DictConfig | None) -> dict[str, Any]:
    """Entries of ``results.json`` that describe the training, with the settings of the other corpus, if any."""
    metrics = {name: value for name, value in run.results["metrics"].items() if not name.startswith("test/")}
    names = (
        "seed",
        "seconds",
        "warnings",
        "versions",
        "git_revision",
        "choices",
        "config",
        "epochs",
        "best_epoch",
        "weights",
    )
    results: dict[str, Any] = {name: run.results.get(name) for name in names} | {"metrics": metrics}
    if config is not None:
        chosen, stored = config.choices, stored_config(run.results, run.folder, trust=config.trust)
        before = results["choices"]
        results["choices"] = before | {
            "dataset": chosen["dataset"], "detector": chosen["detector"], "split": "all frames", "paper": None,
            "identity": chosen.get("identity"),
        }  # fmt: skip
        results["config"] = results["config"] | {
            "dataset": OmegaConf.to_container(corpus_settings(config, stored)),
            "detector": OmegaConf.to_container(config.detector) if config.get("detector") else None,
            "identity": OmegaConf.to_container(config.identity) if config.get("identity") else None,
            "trained_on": {group: before.get(group) for group in ("dataset", "split", "detector", "identity")},
            "paper": None,
        }
    return results


def ensemble_settings(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Settings in ``results.json`` of an ensemble: those that all members have in common."""
    first = members[0]
    seconds = {"fit": sum(results["seconds"]["fit"] for results in members)}
    choices = _common([results["choices"] for results in members]) | {"backbone": "ensemble"}
    config = _common([results["config"] for results in members])
    shared = {name: first[name] for name in ("versions", "git_revision")}
    return shared | {
        "choices": choices, "config": config, "seconds": seconds, "seed": None, "warnings": [], "metrics": {},
    }  # fmt: skip


def _common(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merges nested settings; values that differ become ``several``."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in settings for name in each):
        values = [each.get(name) for each in settings]
        if all(isinstance(value, dict) for value in values):
            merged[name] = _common([value for value in values if isinstance(value, dict)])
        else:
            several = None if name in ("seed", "fold") else "several"
            merged[name] = values[0] if all(value == values[0] for value in values) else several
    return merged


def write_run(
    folder: Path,
    results: dict[str, Any],
    member: Member,
    predictions: pd.DataFrame,
    emotions: list[str],
    leakage: dict[str, Any],
    validation: pd.DataFrame | None,
    batches: BatchInvariance | None,
) -> Run:
    """Writes the run folder of a member or an ensemble; ``batches`` says whether it depends on the batch."""
    measured = measure(predictions, emotions)
    sizes = {subset: int(member.run.results["data"]["split"][subset]) for subset in ("train", "val")}
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, predictions, validation)
    # Written last: it marks the folder as complete.
    write_results(
        folder,
        results
        | measured
        | {
            "evaluated": str(member.run.folder),
            "warnings": [*results["warnings"], *([] if batches is None or batches.holds else [batches.sentence])],
            "batch_invariance": None if batches is None else batches.as_dict(),
            "metrics": results["metrics"] | measured["metrics"],
            "leakage": leakage,
            "data": describe_data(member.datamodule, predictions) | {"split": sizes | {"test": len(predictions)}},
        },
    )
    return open_run(folder)
