"""Figures of a run that need no network: confusion matrix, sample predictions, and leakage of its split."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid import figures
from fervid.audit.leakage import worst_pairs
from fervid.data.datamodule import EmotionDataModule
from fervid.media.sound import RATE
from fervid.metrics.parts import describe_scores, part_scores
from fervid.schema.parts import EMOTION, parts_of
from fervid.schema.predictions import confidence

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
    for part in parts_of(results):
        if part.name == EMOTION:
            drawn |= _draw_classes(datamodule, results, predictions)
        else:
            scores = describe_scores(part_scores(predictions, part), part)
            title = f"test, {results['leakage']['level']}: {scores}"
            drawn[part.name] = figures.draw_part(predictions, part, title)
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
    title = f"test, {results['leakage']['level']}: UAR {metrics['test/uar']:.1%}, WAR {metrics['test/accuracy']:.1%}"
    drawn: dict[str, Figure] = {
        "confusion_matrix": figures.confusion_matrix(np.array(results["confusion"]), names, title)
    }
    pictures = _pictures(datamodule, datamodule.samples.loc[chosen["index"]])
    if pictures is not None:
        drawn["sample_predictions"] = figures.sample_predictions(
            pictures, chosen["label"].tolist(), chosen["predicted"].tolist(), confidence(chosen, names).tolist()
        )
    return drawn


def _pictures(datamodule: EmotionDataModule, samples: pd.DataFrame) -> np.ndarray | None:
    """Returns what can be shown of samples, uint8 (N, H, W, 3): a face, or else the spectrogram; None for features."""
    stores = datamodule.stores
    if "image" in stores:
        rows = datamodule.sample.frame_rows(datamodule.manifest, samples)
        return datamodule.face_cache[rows if rows.ndim == 1 else rows[:, rows.shape[1] // 2]]
    if "sound" not in stores:
        return None
    sounds = [stores["sound"].view(np.array([row]))[0] for row in samples["clip_row"]]
    return np.stack([figures.spectrogram_picture(sound, RATE) for sound in sounds])


def draw_leaks(datamodule: EmotionDataModule) -> Figure | None:
    """Draws the most telling pairs of frames that leak between subsets; returns None if there are none."""
    manifest, audit = datamodule.manifest, datamodule.audit
    pairs = worst_pairs(manifest, audit)
    if not pairs:
        return None
    left, right = (manifest.iloc[list(rows)] for rows in list(zip(*pairs, strict=True))[:2])
    if "image" in datamodule.stores:
        shown = [datamodule.face_cache[each["cache_row"].to_numpy()] for each in (left, right)]
    else:
        pictures = [_pictures(datamodule, each) for each in (left, right)]
        shown = [picture for picture in pictures if picture is not None]
        if not shown:
            return None
    return figures.pairs(
        shown[0],
        shown[1],
        [caption(frame) for _, frame in left.iterrows()],
        [caption(frame) for _, frame in right.iterrows()],
        [relation for *_, relation in pairs],
        f"Frames that leak between subsets ({audit.level})",
    )


def caption(frame: pd.Series) -> str:
    """Describes a frame below its face: subset, subject, emotion, clip and number."""
    subject = "" if pd.isna(frame["subject"]) else f"{frame['subject']}, "
    return f"{frame['split']}: {subject}{frame['emotion']}\n{frame['clip']}\nframe {frame['frame']}"
