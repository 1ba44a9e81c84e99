"""What splits keep in one subset, clips and subjects, and how some of the subjects are drawn."""

import math

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import keys

DRAWS = 200  # of people, of which the one is taken that shares out the emotions best


def draw_subjects(table: pd.DataFrame, share: float, seed: int) -> pd.Index:
    """Of a table of subject x emotion, the people that come nearest to a share of every emotion."""
    least = 1 / len(table)
    held = math.ceil(min(max(share, least), 1 - least) * len(table))
    # As scikit-learn's ShuffleSplit draws, without the quarter of a second that it takes to be imported.
    random = np.random.RandomState(seed)
    drawn = [random.permutation(len(table))[:held] for _ in range(DRAWS)]
    # Whole people never give every emotion exactly its share: the draw that comes nearest is taken.
    counts = table.to_numpy()
    counts = counts[:, counts.any(axis=0)]  # those who show an emotion may all be taken already
    off = [float(np.abs(counts[taken].sum(axis=0) / counts.sum(axis=0) - share).sum()) for taken in drawn]
    return table.index[drawn[int(np.argmin(off))]]


def validate_on_subjects(manifest: pd.DataFrame, split: np.ndarray, val: float, seed: int, name: str) -> np.ndarray:
    """Moves people from the training to the validation side."""
    check_val(val)
    subjects, train = keys(manifest, "subject"), split == "train"
    table = pd.crosstab(subjects[train], manifest["emotion"][train])
    if len(table) < 2:
        raise InputError(
            f"split={name} leaves {len(table)} people to both train and validate on: at least 2 are needed, so add "
            "people, or use split=clips."
        )
    split[train & subjects.isin(draw_subjects(table, val, seed)).to_numpy()] = "val"
    return split


def clips_to_keep_whole(manifest: pd.DataFrame) -> pd.Series:
    """What has to stay together: clips, or groups of clips that look the same where they are known."""
    return manifest["group"] if "group" in manifest else keys(manifest, "clip")


def emotion_of_clips(clips: pd.Series, emotions: pd.Series) -> pd.Series:
    """The emotion of most frames of each clip, by clip.

    Args:
        clips: of each of N frames, of :func:`clips_to_keep_whole`.
        emotions: of the same frames.
    """
    return pd.crosstab(clips, emotions).idxmax(axis=1)


def check_subjects_known(manifest: pd.DataFrame, name: str) -> None:
    """Refuses a corpus with unknown subjects for the split of that name."""
    unknown = int(manifest["subject"].isna().sum())
    if unknown:
        raise InputError(
            f"split={name} needs to know who is seen, but {unknown} of {len(manifest)} frames have no subject: "
            "give dataset.subject_pattern (a regular expression on the file name), or use split=stratified."
        )


def check_val(val: float) -> None:
    """Refuses a share of validation frames that is not between 0 and 1."""
    if not 0 < val < 1:
        raise InputError(f"split.val={val} leaves nothing to train or to validate on: it must lie between 0 and 1.")
