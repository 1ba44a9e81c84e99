"""Splits by name: each takes a manifest and says for every frame whether it is trained, validated or tested on.

Which of them is honest is not a matter of its name: :func:`leakage` counts the subjects and clips that stand on
both sides of any split.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import ShuffleSplit, train_test_split

from fervid.errors import InputError

DRAWS = 200  # of people, of which split=subject takes the one that shares out the emotions best


def random_frames(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Draws single frames at random, as most published notebooks do; frames of one clip land on all sides: it leaks.

    Args:
        manifest: one row a frame.
        val: share of all frames to validate on, between 0 and 1.
        test: share of all frames to test on, between 0 and 1.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).
    """
    return _draw(manifest, val, test, seed, stratify=False)


def stratified(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Draws single frames at random with the same share of every emotion on each side (arguments: random_frames).

    scikit-learn's ``train_test_split`` first parts train from the rest, then val from test, with the same seed: at
    0.2, 0.2 and seed 42 these are the rows of the Hugging Face faces paper.
    """
    return _draw(manifest, val, test, seed, stratify=True)


def subject(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Keeps all frames of a person on one side, emotions shared out as evenly as whole people allow.

    Args:
        manifest: one row a frame, with its subject.
        val: share of the frames to validate on; met as closely as whole people allow.
        test: share of the frames to test on, likewise.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown, or too few to part.
    """
    _check_shares(val, test)
    unknown = int(manifest["subject"].isna().sum())
    if unknown:
        raise InputError(
            f"split=subject needs to know who is seen, but {unknown} of {len(manifest)} frames have no subject: "
            "give dataset.subject_pattern (a regular expression on the file name), or use split=stratified."
        )
    table = pd.crosstab(manifest["subject"], manifest["emotion"])
    side = pd.Series("train", index=table.index)
    for name, share in (("test", test), ("val", val / (1 - test))):
        rest = table[side == "train"]
        if len(rest) < 2:
            raise InputError(f"split=subject cannot part {len(table)} people into three sides: at least 3 are needed.")
        draws = ShuffleSplit(DRAWS, test_size=min(max(share, 1 / len(rest)), 1 - 1 / len(rest)), random_state=seed)
        frames = rest.sum()
        # Whole people never give every emotion exactly its share: the draw that comes nearest is taken.
        drawn = [taken for _, taken in draws.split(rest)]
        off = [float((rest.iloc[taken].sum() / frames - share).abs().sum()) for taken in drawn]
        taken = drawn[int(np.argmin(off))]
        side[rest.index[taken]] = name
    return manifest["subject"].map(side).to_numpy(dtype=object)


def _draw(manifest: pd.DataFrame, val: float, test: float, seed: int, *, stratify: bool) -> np.ndarray:
    _check_shares(val, test)
    rows = np.arange(len(manifest))
    emotions = manifest["emotion"].to_numpy()
    split = np.full(len(manifest), "train", dtype=object)
    try:
        _, held_out = train_test_split(
            rows, test_size=val + test, random_state=seed, stratify=emotions if stratify else None
        )
        val_rows, test_rows = train_test_split(
            held_out,
            test_size=test / (val + test),
            random_state=seed,
            stratify=emotions[held_out] if stratify else None,
        )
    except ValueError as error:
        raise InputError(f"{len(manifest)} frames cannot be split: {error}") from error
    split[val_rows], split[test_rows] = "val", "test"
    return split


def _check_shares(val: float, test: float) -> None:
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise InputError(
            f"split.val={val} and split.test={test} leave nothing to train on or nothing to measure: both must lie "
            "between 0 and 1 and sum to less than 1."
        )


@dataclass(frozen=True)
class Leakage:
    """What stands on more than one side of a split.

    Attributes:
        subjects: people on two sides; None where the corpus does not know its people.
        clips: recordings on two sides.
        clips_known: whether the corpus knows which frames belong together; else every frame is a clip of its own.
    """

    subjects: int | None
    clips: int
    clips_known: bool = True

    @property
    def grade(self) -> str:
        """``subject-independent``, ``clip-independent`` (people shared, clips not), ``leaky``, ``people unknown``."""
        if self.subjects == 0 and not self.clips:
            return "subject-independent"
        if self.clips or (self.subjects and not self.clips_known):
            return "leaky"
        return "clip-independent" if self.subjects else "people unknown"


def leakage(manifest: pd.DataFrame) -> Leakage:
    """Counts the subjects and clips that stand on more than one side.

    Args:
        manifest: one row a frame, with its ``split``.
    """

    def on_two_sides(column: str) -> int:
        return int((manifest.groupby(column)["split"].nunique() > 1).sum())

    known = manifest["subject"].notna().all()
    clips_known = manifest["clip"].nunique() < len(manifest)
    return Leakage(on_two_sides("subject") if known else None, on_two_sides("clip"), clips_known)
