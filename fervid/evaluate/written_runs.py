"""An evaluation in the form of a run: what a report needs to know of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fervid.evaluate.ensemble import soft_vote
from fervid.evaluate.members import Member, asked_settings
from fervid.metrics.aggregation import clip_predictions, confusion
from fervid.metrics.scores import scores
from fervid.runs.load import stored_config
from fervid.runs.record import write_json
from fervid.runs.run import Run, open_run
from fervid.schema.atomic import write_csv


def predictions_table(frames: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """One row a frame, as :meth:`fervid.callbacks.Predictions.table` gives."""
    table = frames.drop(columns="store_row").rename(columns={"emotion": "true"})
    table.insert(0, "index", frames.index)
    table["predicted"] = np.array(emotions, dtype=object)[probabilities.argmax(axis=1)]
    chances = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in emotions], index=table.index)
    return pd.concat([table, chances], axis=1)


def joint_validation(runs: Sequence[Run], weights: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame | None:
    """What the ensemble says of the validation frames; None unless all members have the same."""
    if not all((run.folder / "predictions_val.csv").exists() for run in runs):
        return None
    chances = [f"p_{name}" for name in emotions]
    tables = [run.validation.sort_values(["clip", "frame"], ignore_index=True) for run in runs]
    if not all(table[["clip", "frame"]].equals(tables[0][["clip", "frame"]]) for table in tables):
        return None
    joint = soft_vote([table[chances].to_numpy(dtype=float) for table in tables], weights)
    predicted = np.array(emotions, dtype=object)[joint.argmax(axis=1)]
    return tables[0].assign(predicted=predicted, **dict(zip(chances, joint.T, strict=True)))


def run_settings(run: Run, config: DictConfig | None) -> dict[str, Any]:
    """A run's ``results.json`` as far as it is of training; with the corpus it is asked about, if that is another."""
    kept = {name: value for name, value in run.results["metrics"].items() if not name.startswith("test/")}
    told = ("seed", "seconds", "warnings", "versions", "git_revision", "choices", "config", "epochs", "best_epoch")
    results: dict[str, Any] = {name: run.results.get(name) for name in told} | {"metrics": kept}
    if config is not None:
        chosen = config.choices
        before = results["choices"]
        results["choices"] = before | {
            "dataset": chosen["dataset"], "detector": chosen["detector"], "split": "all frames", "paper": None,
        }  # fmt: skip
        results["config"] = results["config"] | {
            "dataset": OmegaConf.to_container(asked_settings(config, stored_config(run.results, run.folder))),
            "detector": OmegaConf.to_container(config.detector) if config.get("detector") else None,
            "trained_on": {group: before.get(group) for group in ("dataset", "split", "detector")},
            "paper": None,
        }
    return results


def ensemble_settings(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What an ensemble's ``results.json`` says of settings: those that all members have in common."""
    first = members[0]
    seconds = {"fit": sum(results["seconds"]["fit"] for results in members)}
    choices = _common([results["choices"] for results in members]) | {"backbone": "ensemble"}
    config = _common([results["config"] for results in members])
    told = {name: first[name] for name in ("versions", "git_revision")}
    return told | {
        "choices": choices, "config": config, "seconds": seconds, "seed": None, "warnings": [], "metrics": {},
    }  # fmt: skip


def _common(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Nested settings with ``several`` where they differ."""
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
) -> Run:
    """Writes what a report needs to know of a run."""
    counts = confusion(predictions, emotions)
    reached = scores(counts)
    clips = scores(confusion(clip_predictions(predictions, emotions), emotions))
    metrics = {f"test/{name}": value for name, value in reached.means().items()}
    metrics |= {f"test/clip_{name}": value for name, value in clips.means().items()}
    sides = {side: int(member.run.results["data"]["split"][side]) for side in ("train", "val")}
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "predictions.csv", predictions)
    if validation is not None:
        write_csv(folder / "predictions_val.csv", validation)
    # Last: with it the folder is whole.
    write_json(
        folder / "results.json",
        results
        | {
            "evaluated": str(member.run.folder),
            "metrics": results["metrics"] | metrics,
            "recall": dict(zip(emotions, reached.recall.tolist(), strict=True)),
            "precision": dict(zip(emotions, reached.precision.tolist(), strict=True)),
            "confusion": counts.tolist(),
            "class_names": list(emotions),
            "leakage": leakage,
            "data": {
                "corpus": member.datamodule.corpus,
                "corpora": member.datamodule.corpora,
                "rendered": member.datamodule.rendered,
                "frames": len(predictions),
                "clips": int(predictions["clip"].nunique()),
                "subjects": int(predictions["subject"].nunique()),
                "unreadable": member.datamodule.failed_files,
                "image_size": member.datamodule.image_size,
                "split": sides | {"test": len(predictions)},
            },
        },
    )
    return open_run(folder)
