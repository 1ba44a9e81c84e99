"""Helpers shared by the split rules: indivisible clips and subjects, and random choice of subjects."""

import math

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import keys

DRAWS = 200  # random draws of subjects; the one with the most even distribution of emotions is used


def draw_subjects(table: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Draws subjects at random so that they have about the given fraction of the frames of every emotion.

    Args:
        table: number of frames, one row per subject and one column per emotion.
        fraction: fraction of subjects to draw, and of frames of every emotion to approximate.
        seed: random seed.
    """
    smallest = 1 / len(table)
    number = math.ceil(min(max(fraction, smallest), 1 - smallest) * len(table))
    # The same draws as scikit-learn's ShuffleSplit, which takes a quarter of a second to import.
    random = np.random.RandomState(seed)
    draws = [random.permutation(len(table))[:number] for _ in range(DRAWS)]
    # Whole subjects rarely have exactly this fraction of every emotion, so use the draw that comes closest.
    counts = table.to_numpy()
    counts = counts[:, counts.any(axis=0)]  # all subjects with an emotion may be in another subset already
    errors = [float(np.abs(counts[drawn].sum(axis=0) / counts.sum(axis=0) - fraction).sum()) for drawn in draws]
    return table.index[draws[int(np.argmin(errors))]]


def validate_on_subjects(manifest: pd.DataFrame, split: np.ndarray, val: float, seed: int, name: str) -> np.ndarray:
    """Moves some subjects from the training subset to the validation subset."""
    check_val(val)
    subjects, train = keys(manifest, "subject"), split == "train"
    table = pd.crosstab(subjects[train], manifest["emotion"][train])
    if len(table) < 2:
        raise InputError(
            f"split={name} leaves {len(table)} subject(s) for training and validation, and at least 2 are needed: add "
            "subjects, or use split=clips."
        )
    split[train & subjects.isin(draw_subjects(table, val, seed)).to_numpy()] = "val"
    return split


def indivisible_clips(manifest: pd.DataFrame) -> pd.Series:
    """Returns what must stay in one subset, for each frame: its group of near-duplicates if known, else its clip."""
    return manifest["group"] if "group" in manifest else keys(manifest, "clip")


def emotion_of_clips(clips: pd.Series, emotions: pd.Series) -> pd.Series:
    """Returns the most frequent emotion of each clip, indexed by clip.

    Args:
        clips: clip of each of N frames, from :func:`indivisible_clips`.
        emotions: emotion of each of the N frames.
    """
    return pd.crosstab(clips, emotions).idxmax(axis=1)


def check_subjects_known(manifest: pd.DataFrame, name: str) -> None:
    """Raises an InputError if a frame has no subject; ``name`` is the split that needs it."""
    unknown = int(manifest["subject"].isna().sum())
    if unknown:
        raise InputError(
            f"split={name} needs subjects, but {unknown} of {len(manifest)} frames have none: give "
            "dataset.subject_pattern (a regular expression for the file name), use split=identity "
            "identity=<face weights>, or use split=clips dataset.near_duplicates=group."
        )


def check_val(val: float) -> None:
    """Raises an InputError if the validation fraction is not between 0 and 1."""
    if not 0 < val < 1:
        raise InputError(f"split.val={val} leaves train or val empty: give a fraction between 0 and 1.")


def check_fractions(val: float, test: float) -> None:
    """Raises an InputError if the fractions for validation and testing leave a subset empty."""
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise InputError(
            f"split.val={val} and split.test={test} leave a subset empty: give fractions between 0 and 1 that sum to "
            "less than 1."
        )
