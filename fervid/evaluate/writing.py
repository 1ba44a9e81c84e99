"""Writes evaluations as run folders that a report can read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fervid.evaluate.combining import Weights, combine, validation_tables
from fervid.evaluate.members import Member, corpus_settings, crops_pictures
from fervid.evaluate.posteriors import PosteriorTable
from fervid.models.batch_invariance import BatchInvariance
from fervid.runs.load import stored_config
from fervid.runs.record import describe_data
from fervid.runs.run import Run, open_run
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.predictions import predictions_table, probabilities, write_predictions
from fervid.schema.results import write_results


def joint_validation(
    runs: Sequence[Run], weights: np.ndarray, emotions: Sequence[str], rule: str
) -> pd.DataFrame | None:
    """Ensemble predictions of the validation frames; None unless all members have the same validation frames."""
    found = validation_tables(runs) if all(run.has_validation for run in runs) else None
    if found is None:
        return None
    frames, tables = found
    joint = combine([probabilities(table, emotions) for table in tables], weights, rule)
    return predictions_table(frames, joint, emotions)


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
            "dataset": OmegaConf.to_container(corpus_settings(config, stored, of_pictures=crops_pictures(run))),
            "detector": OmegaConf.to_container(config.detector) if config.get("detector") else None,
            "identity": OmegaConf.to_container(config.identity) if config.get("identity") else None,
            "trained_on": {group: before.get(group) for group in ("dataset", "split", "detector", "identity")},
            "paper": None,
        }
    return results


def adaptation_entries(results: dict[str, Any], member: Member) -> dict[str, Any]:
    """Adds how a member was adapted to the entries of ``results.json``; returns them unchanged if it was not."""
    if member.adaptation is None:
        return results
    method, settings = member.adaptation.method, member.adaptation.settings
    return results | {
        "choices": results["choices"] | {"adaptation": method},
        "config": results["config"] | {"adaptation": settings},
        "adaptation": {"method": method, **settings, **member.adapted},
    }


def posterior_entries(table: PosteriorTable, run: dict[str, Any]) -> dict[str, Any]:
    """Entries of ``results.json`` of a table of posteriors.

    Args:
        table: the table; how its model was trained is unknown.
        run: entries of a run that was tested on the same frames.
    """
    groups = ("dataset", "split", "detector", "sample")
    described = {"files": table.source, "classes": table.class_names, "values": table.values}
    return {
        "choices": {name: run["choices"].get(name) for name in groups} | {"backbone": "posteriors"},
        "config": {name: run["config"].get(name) for name in groups} | {"posteriors": described},
        "evaluated": table.source,
        **{name: run[name] for name in ("versions", "git_revision")},
        **{"seconds": {"fit": 0.0}, "seed": None, "warnings": [], "metrics": {}},
    }


def ensemble_settings(
    members: Sequence[dict[str, Any]], sources: Sequence[str], weights: Weights, rule: str
) -> dict[str, Any]:
    """Entries of ``results.json`` of an ensemble: the settings that its runs have in common, and how it is computed.

    Args:
        members: entries of each member that is a run.
        sources: run folder or table of each member.
        weights: weights of the members.
        rule: how their probabilities are combined.
    """
    first = members[0]
    given = weights.values.tolist()
    seconds = {"fit": sum(results["seconds"]["fit"] for results in members)}
    choices = _common([results["choices"] for results in members]) | {"backbone": "ensemble"}
    config = _common([results["config"] for results in members])
    # Its rows are frames if those of a member are.
    of_frames = next((results for results in members if Run(Path(), results).samples == "frames"), first)
    config["sample"] = of_frames["config"].get("sample")
    # Part of the configuration, so that reports do not mistake two ensembles of the same members for replicates.
    config["ensemble"] = {"combine": rule, "weights": given if weights.source == "given" else weights.source}
    ensemble = {"members": list(sources), "weights": given, "weights_from": weights.source, "combine": rule}
    if weights.learned:
        ensemble["validation"] = weights.learned
    shared = {name: first[name] for name in ("versions", "git_revision")}
    return shared | {
        "choices": choices, "config": config, "seconds": seconds, "seed": None, "warnings": [], "metrics": {},
        "ensemble": ensemble,
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


def worst_leakage(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what leaks most among what the members of an ensemble leak."""

    def rank(leakage: dict[str, Any]) -> tuple[int, int]:
        return LeakageLevel(leakage["level"]).rank, (leakage.get("seen_people") or {"count": 0})["count"]

    return max(found, key=rank)


def write_run(
    folder: Path,
    results: dict[str, Any],
    member: Member,
    predictions: pd.DataFrame,
    measured: Mapping[str, Any],
    leakage: dict[str, Any],
    validation: pd.DataFrame | None,
    batches: BatchInvariance | None,
) -> Run:
    """Writes the run folder of a member, a table of posteriors or an ensemble.

    Args:
        folder: folder to create.
        results: entries of ``results.json`` on the training.
        member: the member; for a table or an ensemble, one tested on the same frames.
        predictions: predictions of the test frames.
        measured: entries of ``results.json`` that are computed from the predictions.
        leakage: what is known of the overlap with the training data.
        validation: predictions of the validation frames, if any.
        batches: whether the predictions depend on the batch, if that was checked.
    """
    before = member.run.results["data"]
    sizes = {subset: int(before["split"][subset]) for subset in ("train", "val")}
    trained = {name: counts | {"test": 0} for name, counts in before.get("corpus_by_split", {}).items()}
    if "posteriors" in results["config"]:  # what its model was trained on is unknown
        sizes, trained = {"train": 0, "val": 0}, {}
    for corpus, count in predictions["corpus"].value_counts().items():
        trained[str(corpus)] = trained.get(str(corpus), {"train": 0, "val": 0}) | {"test": int(count)}
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, predictions, validation)
    # Written last: it marks the folder as complete.
    write_results(
        folder,
        results
        | {**measured}
        | {
            "evaluated": results.get("evaluated", str(member.run.folder)),
            "warnings": [*results["warnings"], *([] if batches is None or batches.holds else [batches.sentence])],
            "batch_invariance": None if batches is None else batches.as_dict(),
            "metrics": results["metrics"] | measured["metrics"],
            "leakage": leakage,
            "data": describe_data(member.datamodule, predictions)
            | {"split": sizes | {"test": len(predictions)}, "corpus_by_split": trained},
        },
    )
    return open_run(folder)
