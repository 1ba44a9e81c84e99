"""Random splits of frames, clips or subjects."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError, first_line
from fervid.schema.columns import keys
from fervid.schema.manifest import SPLITS
from fervid.splits.groups import (
    check_fractions,
    check_subjects_known,
    draw_subjects,
    emotion_of_clips,
    indivisible_clips,
)


def random_frames(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Splits single frames at random, as most published notebooks do.

    Frames of the same clip end up in several subsets, so this split leaks.

    Args:
        manifest: one row per frame.
        val: fraction of frames for validation, between 0 and 1.
        test: fraction of frames for testing, between 0 and 1.
        seed: random seed.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if the fractions are out of range or there are too few frames.
    """
    return _draw(manifest["emotion"].to_numpy(), val, test, seed, stratify=False, unit="frames")


def stratified(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Splits single frames at random, with the same fraction of every emotion in each subset.

    Takes the arguments of :func:`random_frames`. scikit-learn's ``train_test_split`` first separates train from the
    rest, then val from test, with the same seed. With 0.2, 0.2 and seed 42 this is the split of the Hugging Face faces
    paper.
    """
    return _draw(manifest["emotion"].to_numpy(), val, test, seed, stratify=True, unit="frames")


def counts(manifest: pd.DataFrame, *, counts: Mapping[str, Sequence[int]], seed: int) -> np.ndarray:
    """Draws a given number of frames of each emotion for each subset at random, as in the ISED paper.

    Frames of the same clip end up in several subsets, so this split leaks.

    Args:
        manifest: one row per frame.
        counts: number of train, val and test frames for each emotion of the corpus.
        seed: random seed.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for frames left over, shape (N,).

    Raises:
        InputError: if ``counts`` and the corpus do not have the same emotions, a count is not a non-negative integer,
            a subset is empty, or there are too few frames.
    """
    for emotion, numbers in counts.items():
        has_three = isinstance(numbers, Sequence) and len(numbers) == 3
        if not has_three or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise InputError(
                f"split.counts.{emotion}={numbers} is not [train, val, test]: give three whole numbers of frames."
            )
    for position, subset in enumerate(SPLITS):
        if not any(numbers[position] for numbers in counts.values()):
            raise InputError(
                f"split.counts={dict(counts)} leaves {subset} empty: give every subset at least one frame."
            )
    found = manifest["emotion"].value_counts()
    unknown, missing = sorted(set(counts) - set(found.index)), sorted(set(found.index) - set(counts))
    if unknown or missing:
        problems = [f"lists {', '.join(unknown)}, which the corpus does not have"] if unknown else []
        problems += [f"does not list {', '.join(missing)}, which the corpus has"] if missing else []
        raise InputError(
            f"split.counts {' and '.join(problems)}: list exactly {', '.join(sorted(found.index))}, or exclude "
            "emotions from the corpus."
        )
    short = [
        f"{sum(numbers)} frames of {emotion}, found {found[emotion]}"
        for emotion, numbers in counts.items()
        if sum(numbers) > found[emotion]
    ]
    if short:
        raise InputError(
            f"split.counts needs {'; '.join(short)}: lower dataset.frame_stride to take more frames per clip, or give "
            "smaller counts."
        )
    split = np.full(len(manifest), None, dtype=object)
    rng = np.random.default_rng(seed)
    for emotion in sorted(counts):
        rows = rng.permutation(np.flatnonzero(manifest["emotion"] == emotion))
        for subset, number in zip(SPLITS, counts[emotion], strict=True):
            split[rows[:number]], rows = subset, rows[number:]
    return split


def clips(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Splits clips at random, with the same fraction of every emotion in each subset.

    All frames of a clip are in one subset. Subjects appear in several subsets.

    Args:
        manifest: one row per frame. The emotion of a clip is that of most of its frames. If there is a column
            ``group``, all clips of a group count as one clip.
        val: fraction of clips for validation, between 0 and 1.
        test: fraction of clips for testing, between 0 and 1.
        seed: random seed.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if the fractions are out of range or an emotion has too few clips.
    """
    clip = indivisible_clips(manifest)
    emotions = emotion_of_clips(clip, manifest["emotion"])
    subsets = _draw(emotions.to_numpy(), val, test, seed, stratify=True, unit="clips")
    return clip.map(pd.Series(subsets, index=emotions.index)).to_numpy(dtype=object)


def subject(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Splits subjects at random: all frames of a subject are in one subset.

    Emotions are distributed over the subsets as evenly as whole subjects allow.

    Args:
        manifest: one row per frame, with its subject.
        val: fraction of frames for validation; approximate, since subjects are not divided.
        test: fraction of frames for testing; approximate, since subjects are not divided.
        seed: random seed.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if the fractions are out of range, subjects are unknown, or there are fewer than three.

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
    check_subjects_known(manifest, "subject")
    return _draw_subjects(manifest, keys(manifest, "subject"), val, test, seed, "subject")


def identity(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Splits people at random: all frames of a person are in one subset.

    People are found by clustering face embeddings (:class:`fervid.data.identity.FaceIdentity`) and near-duplicates. If
    subjects are known, all names of a person are in one subset.

    Takes the arguments of :func:`subject`, with a manifest that has the column ``face_cluster``.

    Raises:
        InputError: if the manifest has no people, the fractions are out of range, or there are fewer than three people.
    """
    if "face_cluster" not in manifest:
        raise InputError(
            "split=identity needs face weights: give identity=face_mobilenetv1 identity.backbone.weights=<file>, or "
            "another option of identity."
        )
    return _draw_subjects(manifest, manifest["face_cluster"], val, test, seed, "identity")


def _draw_subjects(
    manifest: pd.DataFrame, subjects: pd.Series, val: float, test: float, seed: int, rule: str
) -> np.ndarray:
    check_fractions(val, test)
    table = pd.crosstab(subjects, manifest["emotion"])
    subset = pd.Series("train", index=table.index)
    for name, fraction in (("test", test), ("val", val / (1 - test))):
        rest = table[subset == "train"]
        if len(rest) < 2:
            raise InputError(
                f"split={rule} cannot split {len(table)} subjects into train, val and test: at least 3 are needed."
            )
        subset[draw_subjects(rest, fraction, seed)] = name
    return subjects.map(subset).to_numpy(dtype=object)


def _draw(emotions: np.ndarray, val: float, test: float, seed: int, *, stratify: bool, unit: str) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    check_fractions(val, test)
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
            f"{len(emotions)} {unit} cannot be split ({first_line(error)}): the rarest emotion, {rare}, has {number}; "
            "add some, exclude this emotion, or raise split.val and split.test."
        ) from error
    split[val_rows], split[test_rows] = "val", "test"
    return split
