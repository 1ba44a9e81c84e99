"""Splits that are drawn at random: frames, clips or whole subjects."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError, first_line
from fervid.schema.columns import keys
from fervid.schema.manifest import SPLITS
from fervid.splits.groups import check_subjects_known, clips_to_keep_whole, draw_subjects, emotion_of_clips


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
    return _draw(manifest["emotion"].to_numpy(), val, test, seed, stratify=False, what="frames")


def stratified(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Draws single frames at random with the same share of every emotion on each side (arguments: random_frames).

    scikit-learn's ``train_test_split`` first parts train from the rest, then val from test, with the same seed: at
    0.2, 0.2 and seed 42 these are the rows of the Hugging Face faces paper.
    """
    return _draw(manifest["emotion"].to_numpy(), val, test, seed, stratify=True, what="frames")


def counts(manifest: pd.DataFrame, *, counts: Mapping[str, Sequence[int]], seed: int) -> np.ndarray:
    """Draws exact numbers of single frames of each emotion at random, as the ISED paper's table; it leaks.

    Args:
        manifest: one row a frame.
        counts: for each emotion of the corpus its frames to train, validate and test on.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those left over, shape (N,).

    Raises:
        InputError: if an emotion is not in both the corpus and ``counts``, a number is none, a side is empty, or
            there are too few frames.
    """
    for emotion, numbers in counts.items():
        threefold = isinstance(numbers, Sequence) and len(numbers) == 3
        if not threefold or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise InputError(
                f"split.counts.{emotion}={numbers} is not [train, val, test]: give three whole numbers of frames."
            )
    for position, side in enumerate(SPLITS):
        if not any(numbers[position] for numbers in counts.values()):
            raise InputError(f"split.counts={dict(counts)} puts no frame on the {side} side: every side needs some.")
    found = manifest["emotion"].value_counts()
    strange, unnamed = sorted(set(counts) - set(found.index)), sorted(set(found.index) - set(counts))
    if strange or unnamed:
        wrong = [f"names {', '.join(strange)}, which the corpus does not hold"] if strange else []
        wrong += [f"does not name {', '.join(unnamed)}, which the corpus holds"] if unnamed else []
        raise InputError(
            f"split.counts {' and '.join(wrong)}: give exactly {', '.join(sorted(found.index))}, or leave emotions out "
            "of the corpus."
        )
    short = [
        f"{sum(numbers)} frames of {emotion}, found {found[emotion]}"
        for emotion, numbers in counts.items()
        if sum(numbers) > found[emotion]
    ]
    if short:
        raise InputError(
            f"split.counts needs {'; '.join(short)}: take more frames per clip (lower dataset.frame_stride), or give "
            "smaller numbers."
        )
    split = np.full(len(manifest), None, dtype=object)
    rng = np.random.default_rng(seed)
    for emotion in sorted(counts):
        rows = rng.permutation(np.flatnonzero(manifest["emotion"] == emotion))
        for side, number in zip(SPLITS, counts[emotion], strict=True):
            split[rows[:number]], rows = side, rows[number:]
    return split


def clips(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Keeps all frames of a clip on one side, with the same share of every emotion; people are on all of them.

    Args:
        manifest: one row a frame; the emotion of a clip is that of most of its frames. With a column ``group`` all
            clips of a group count as one.
        val: share of the clips to validate on, between 0 and 1.
        test: share of the clips to test on, between 0 and 1.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if an emotion has too few clips.
    """
    clip = clips_to_keep_whole(manifest)
    emotions = emotion_of_clips(clip, manifest["emotion"])
    sides = _draw(emotions.to_numpy(), val, test, seed, stratify=True, what="clips")
    return clip.map(pd.Series(sides, index=emotions.index)).to_numpy(dtype=object)


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

    Examples:
        >>> import numpy as np, pandas as pd
        >>> manifest = pd.DataFrame({
        ...     "corpus": "mine",
        ...     "subject": np.repeat([f"subject {number}" for number in range(5)], 4),
        ...     "emotion": ["happy", "sad"] * 10,
        ... })
        >>> manifest["split"] = subject(manifest, val=0.2, test=0.2, seed=42)
        >>> manifest["split"].value_counts().sort_index().to_dict()
        {'test': 4, 'train': 12, 'val': 4}
        >>> int(manifest.groupby("subject")["split"].nunique().max())  # each subject is in one subset
        1
    """
    _check_shares(val, test)
    check_subjects_known(manifest, "subject")
    subjects = keys(manifest, "subject")
    table = pd.crosstab(subjects, manifest["emotion"])
    side = pd.Series("train", index=table.index)
    for name, share in (("test", test), ("val", val / (1 - test))):
        rest = table[side == "train"]
        if len(rest) < 2:
            raise InputError(f"split=subject cannot part {len(table)} people into three sides: at least 3 are needed.")
        side[draw_subjects(rest, share, seed)] = name
    return subjects.map(side).to_numpy(dtype=object)


def _draw(emotions: np.ndarray, val: float, test: float, seed: int, *, stratify: bool, what: str) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    _check_shares(val, test)
    rows = np.arange(len(emotions))
    split = np.full(len(emotions), "train", dtype=object)
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
        rare, number = min(zip(*np.unique(emotions, return_counts=True), strict=True), key=lambda pair: pair[1])
        raise InputError(
            f"{len(emotions)} {what} cannot be split ({first_line(error)}): the rarest emotion, {rare}, has {number}; "
            "add some, leave it out, or raise split.val and split.test."
        ) from error
    split[val_rows], split[test_rows] = "val", "test"
    return split


def _check_shares(val: float, test: float) -> None:
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise InputError(
            f"split.val={val} and split.test={test} leave nothing to train on or nothing to measure: both must lie "
            "between 0 and 1 and sum to less than 1."
        )
