"""Selects the test samples that are explained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.schema.columns import CLIP_KEY, keys
from fervid.schema.predictions import probabilities

MIN_CORRECT_SAMPLES = 5  # per emotion; with fewer, all samples of the emotion are averaged
MAX_SAMPLES_PER_CONFUSION = 3  # such as fear predicted as surprise


def choose_samples(
    predictions: pd.DataFrame, samples: str | Sequence[int], max_samples: int, seed: int
) -> pd.DataFrame:
    """Selects test samples: frames or clips.

    Args:
        predictions: one row per test sample.
        samples: ``confused``: the wrong predictions with the highest confidence, at most one per clip and three per
            pair of label and prediction; ``right``: the correct predictions with the highest confidence, at most one
            per clip, equally many of each emotion; ``random``; or a list of values of the column ``index``.
        max_samples: maximum number of samples.
        seed: random seed for ``random``.

    Raises:
        InputError: if no sample matches.
    """
    if not isinstance(samples, str):
        by_index = predictions.reset_index().set_index("index", drop=False)
        unknown = [number for number in samples if number not in by_index.index]
        if unknown or not samples:
            missing = f"{unknown[0]} is not a test sample" if unknown else "the list is empty"
            raise InputError(
                f"samples={list(samples)} cannot be used, since {missing}: give values of the column index in "
                "predictions.csv, or confused, right or random."
            )
        return predictions.loc[by_index.loc[list(dict.fromkeys(samples)), "level_0"]].head(max_samples)
    if samples == "random":
        return predictions.sample(min(max_samples, len(predictions)), random_state=seed)
    if samples not in ("confused", "right"):
        raise InputError(
            f"samples={samples} is unknown: choose confused, right, random or a list such as samples=[3,14] with "
            "values of the column index in predictions.csv."
        )
    correct = predictions["label"] == predictions["predicted"]
    found = predictions[correct if samples == "right" else ~correct]
    if found.empty:
        kind = "correctly" if samples == "right" else "incorrectly"
        raise InputError(f"no test sample is predicted {kind}: choose samples=random.")
    found = found.assign(confidence=_confidence(found)).sort_values("confidence", ascending=False, kind="stable")
    pairs = found[~keys(found, "clip").duplicated()].groupby(["label", "predicted"])
    per_pair = -(-max_samples // found["label"].nunique()) if samples == "right" else MAX_SAMPLES_PER_CONFUSION
    return predictions.loc[pairs.head(per_pair).index[:max_samples]]


def samples_to_average(predictions: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """Selects the test samples whose explanations are averaged for each emotion.

    These are the correctly predicted samples, or all samples of the emotion if fewer than five are correct; at most
    ``limit`` per emotion, chosen at random.
    """
    parts = []
    for emotion, samples in predictions.groupby("label"):
        correct = samples[samples["predicted"] == emotion]
        selected = correct if len(correct) >= MIN_CORRECT_SAMPLES else samples
        parts.append(selected.sample(min(len(selected), limit), random_state=seed))
    return pd.concat(parts)


def matching_samples(datamodule: EmotionDataModule, predictions: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Returns the row of the sample table for each prediction.

    Raises:
        InputError: if the predictions are not those of these samples.
    """
    rows = datamodule.samples.reindex(predictions["index"])
    if (rows[[*CLIP_KEY, "emotion"]].to_numpy() != predictions[[*CLIP_KEY, "label"]].to_numpy()).any():
        raise InputError(f"{folder}/predictions.csv does not match its manifest.parquet: train the run again.")
    return rows.set_axis(predictions.index)


def _confidence(frames: pd.DataFrame) -> pd.Series:
    names = pd.Index(frames["predicted"].unique())
    matrix = probabilities(frames, names.tolist())
    confidence = matrix[np.arange(len(frames)), names.get_indexer(pd.Index(frames["predicted"]))]
    return pd.Series(confidence, index=frames.index)
