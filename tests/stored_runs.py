"""Run folders with made-up predictions and all the files that a report reads."""

import json
import zlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from fervid.runs.run import Run, find_runs

NAMES = ("happy", "angry", "sad")  # not in alphabetical order
HISTORY = [
    {"epoch": epoch, "phase": "full", "seconds": 1.0}
    | {f"{part}/{metric}": 0.5 for part in ("train", "val") for metric in ("loss", "accuracy", "uar")}
    for epoch in (1, 2)
]


def _predictions(
    seed: int,
    side: str,
    subjects: Sequence[int],
    class_names: Sequence[str],
    clips: int,
    frames: int,
    skill: float,
    sharpness: float,
    known: bool,
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        list(product(subjects, class_names, range(clips), range(frames))), columns=["person", "label", "take", "frame"]
    )
    person = rows["person"].map("{:02}".format)
    logits = rng.normal(size=(len(rows), len(class_names)))
    likes = rng.normal(0, 1, 1000)[rows["person"].to_numpy() % 1000]  # some subjects are easier to classify than others
    logits[np.arange(len(rows)), pd.Index(class_names).get_indexer(rows["label"])] += skill + likes
    chances = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
    chances /= chances.sum(axis=1, keepdims=True)
    table = pd.DataFrame(
        {
            "index": np.arange(len(rows)),
            "corpus": "synthetic",
            "subject": person if known else None,
            "clip": person + "-" + rows["label"] + "-" + rows["take"].astype(str),
            "label": rows["label"],
            "sex": np.where(rows["person"] % 2 == 0, "male", "female"),
            "intensity": rows["take"] % 2 + 1,
            "spectacles": rows["person"] % 3 == 0,
            "left": np.round(10.5 + rows["person"] % 4, 2),  # where the face is
            "path": None,
            "frame": rows["frame"],
            "time": 0.5 * rows["frame"],
            "split": side,
            "predicted": np.array(class_names, dtype=object)[chances.argmax(axis=1)],
        }
    )
    return pd.concat([table, pd.DataFrame(chances, columns=[f"prob_{name}" for name in class_names])], axis=1)


def _measure(true: Any, predicted: Any) -> dict[str, float]:
    present = sorted(set(true))
    options = {"labels": present, "average": "macro", "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "uar": float(recall_score(true, predicted, **options)),
        "f1": float(f1_score(true, predicted, **options)),
    }


def _settings(
    settings: dict[str, Any], seed: int, fold: int | None, split: str, trained: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Choices and configuration of a run with these settings (arguments as in ``_write_run``)."""
    config: dict[str, Any] = {
        "seed": seed,
        "cache_dir": "/cache",
        "dataset": {"_target_": "a.Corpus", "root": "/data", "num_workers": 0, "batch_size": 32, "seed": None},
        "split": {"_target_": f"a.{split}", "_partial_": True, "val": 0.2, "seed": seed},
    }
    choices = {"dataset": "synthetic", "split": split, "detector": "none", "experiment": None, "hydra/help": "fervid"}
    if trained:
        choices |= {"head": "linear", "finetune": "full", "optimizer": "adam", "scheduler": "none", "trainer": "cpu"}
        config |= {"backbone": {"_target_": "a.Network"}, "optimizer": {"lr": 0.001}, "trainer": {"max_epochs": 2}}
        choices["sample"] = "frame"
        config["sample"] = {"_target_": "fervid.data.samples.Sample", "modalities": ["image"]}
    if fold is not None:
        config["split"]["fold"] = fold
    for name, value in settings.items():
        *path, last = name.split(".")
        if not path and name not in ("cache_dir", "ckpt_path", "pca"):
            choices[name] = value
            continue
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return choices, config


def _scores(test: pd.DataFrame, class_names: Sequence[str]) -> dict[str, Any]:
    """Classes and scores for results.json, by frame and by clip, from a table of test predictions."""
    summed = test.groupby("clip")[[f"prob_{name}" for name in class_names]].mean()
    by_clip = np.array(class_names)[summed.to_numpy().argmax(axis=1)]
    metrics = {f"test/{name}": value for name, value in _measure(test["label"], test["predicted"]).items()}
    truth = test.groupby("clip")["label"].first()
    metrics |= {f"test/clip_{name}": value for name, value in _measure(truth, by_clip).items()}
    counts = confusion_matrix(test["label"], test["predicted"], labels=list(class_names)).tolist()
    return {"class_names": list(class_names), "metrics": metrics, "confusion": counts}


def _write_run(
    folder: Path,
    settings: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    fold: int | None = None,
    split: str = "subject",
    level: str = "subject-independent",
    subjects: Sequence[int] = range(6),
    class_names: Sequence[str] = NAMES,
    clips: int = 2,
    frames: int = 2,
    skill: float = 1.0,
    sharpness: float = 2.0,
    val_sharpness: float | None = None,
    known: bool = True,
    trained: bool = True,
    absent: Sequence[str] = (),
    without: Sequence[str] = (),
    edit: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
) -> Path:
    """Writes results.json, predictions.csv and predictions_val.csv.

    Args:
        folder: where to.
        settings: an option of a group (``backbone``) or a value (``optimizer.lr``) each, other than the usual.
        seed: of the run; decides what is predicted, together with the folder's name.
        fold: of the split.
        split: its name.
        level: what it leaks.
        subjects: those in the test.
        class_names: the emotions.
        clips: of each person and emotion.
        frames: of each clip.
        skill: how much likelier the true emotion is made.
        sharpness: how sure the network is of itself; None for the same in both subsets.
        val_sharpness: the same of the validation frames.
        known: whether it is known who is seen.
        trained: whether it is a network; else a baseline without backbone, finetuning and history.
        absent: emotions that nobody shows in the test.
        without: the columns that the predictions lack.
        edit: changes the test predictions at last.
    """
    choices, config = _settings({"backbone": "lenet", **(settings or {})}, seed, fold, split, trained)
    draw = zlib.crc32(f"{folder.name} {seed} {fold}".encode())
    shown = (class_names, clips, frames, skill)
    test = _predictions(draw, "test", list(subjects), *shown, sharpness, known)
    test = edit(test[~test["label"].isin(absent)].drop(columns=list(without)))
    val = _predictions(draw + 1, "val", range(90, 96), *shown, val_sharpness or sharpness, known)
    results: dict[str, Any] = {
        "task": "classification",
        **_scores(test, class_names),
        "seconds": {"fit": 61.4},
        "data": {
            "corpus": "synthetic",
            "corpora": [
                {
                    **{"name": "synthetic", "root": None, "licence": "", "citation": "", "expressions": ""},
                    **{"pictures": False, "published": False, "rendered": True},
                }
            ],
            "rendered": True,
            "split": {"train": 4 * len(test), "val": len(val), "test": len(test)},
        },
        "leakage": {"level": level},
        "seed": seed,
        "warnings": [],
        "choices": choices,
        "overrides": [],
        "config": config,
    }
    if trained:
        results |= {"best_epoch": 2, "epochs": len(HISTORY), "history": HISTORY}
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("seed: 0\n")
    (folder / "results.json").write_text(json.dumps(results))
    test.to_csv(folder / "predictions.csv", index=False)
    val.to_csv(folder / "predictions_val.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Writes the folder of a finished run; the keywords are those of ``_write_run``."""
    return _write_run


@pytest.fixture
def a_run(tmp_path: Path) -> Callable[..., Run]:
    """Writes such a run into a temporary folder and opens it."""

    def make(name: str, settings: dict[str, Any] | None = None, **options: Any) -> Run:
        return find_runs(str(_write_run(tmp_path / name, settings, **options)))[0][0]

    return make
