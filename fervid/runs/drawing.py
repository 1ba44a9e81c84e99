"""Figures of a run that need no network: confusion matrix, sample predictions, and leakage of its split."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid import figures
from fervid.audit.leakage import worst_pairs
from fervid.data.datamodule import EmotionDataModule
from fervid.data.face_cache import FaceCache
from fervid.schema.predictions import confidence
from fervid.schema.results import CLASSIFICATION

MAX_SAMPLES = 32  # faces in the figure of sample predictions


def draw_predictions(
    folder: Path, datamodule: EmotionDataModule, results: dict[str, Any], predictions: pd.DataFrame
) -> dict[str, Path]:
    """Draws the figures of a run and saves them as PNG.

    Args:
        folder: run folder.
        datamodule: provides the faces.
        results: content of the run's ``results.json``.
        predictions: one row per test frame.

    Returns:
        The path of each figure by its name without ``.png``.
    """
    leaks = draw_leaks(datamodule)
    drawn: dict[str, Figure] = {"leaks": leaks} if leaks else {}
    if results["task"] == CLASSIFICATION:
        drawn |= _draw_classes(datamodule, results, predictions)
    return {name: figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()}


def _draw_classes(
    datamodule: EmotionDataModule, results: dict[str, Any], predictions: pd.DataFrame
) -> dict[str, Figure]:
    names, metrics = results["class_names"], results["metrics"]
    # A random sample with the same number of faces per emotion, so that it shows neither the best nor the worst.
    chosen = (
        predictions.sample(frac=1, random_state=0)
        .groupby("label")
        .head(max(1, MAX_SAMPLES // len(names)))
        .head(MAX_SAMPLES)
        .sort_values("label")
    )
    rows = datamodule.samples.loc[chosen["index"], "cache_row"].to_numpy()
    title = f"test, {results['leakage']['level']}: UAR {metrics['test/uar']:.1%}, WAR {metrics['test/accuracy']:.1%}"
    return {
        "confusion_matrix": figures.confusion_matrix(np.array(results["confusion"]), names, title),
        "sample_predictions": figures.sample_predictions(
            FaceCache(datamodule.face_cache_path)[rows],
            chosen["label"].tolist(),
            chosen["predicted"].tolist(),
            confidence(chosen, names).tolist(),
        ),
    }


def draw_leaks(datamodule: EmotionDataModule) -> Figure | None:
    """Draws the most telling pairs of frames that leak between subsets; returns None if there are none."""
    manifest, audit = datamodule.manifest, datamodule.audit
    pairs = worst_pairs(manifest, audit)
    if not pairs:
        return None
    face_cache = FaceCache(datamodule.face_cache_path)
    left, right = (manifest.iloc[list(rows)] for rows in list(zip(*pairs, strict=True))[:2])
    return figures.pairs(
        face_cache[left["cache_row"].to_numpy()],
        face_cache[right["cache_row"].to_numpy()],
        [caption(frame) for _, frame in left.iterrows()],
        [caption(frame) for _, frame in right.iterrows()],
        [relation for *_, relation in pairs],
        f"Frames that leak between subsets ({audit.level})",
    )


def caption(frame: pd.Series) -> str:
    """Describes a frame below its face: subset, subject, emotion, clip and number."""
    subject = "" if pd.isna(frame["subject"]) else f"{frame['subject']}, "
    return f"{frame['split']}: {subject}{frame['emotion']}\n{frame['clip']}\nframe {frame['frame']}"
