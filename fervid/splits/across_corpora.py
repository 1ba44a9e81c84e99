"""Splits of several corpora: tests on corpora that were left out of training, or on a part of each corpus."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import corpora
from fervid.splits.groups import check_fractions, check_val, draw_subjects, indivisible_clips


def leave_corpus_out(
    manifest: pd.DataFrame,
    *,
    corpus: str | Sequence[str] | None,
    train: str | Sequence[str] | None = None,
    val: float,
    seed: int,
) -> np.ndarray:
    """Tests on one corpus or several and trains on others.

    In each training corpus, some subjects are drawn for validation, or some clips if subjects are unknown.

    Args:
        manifest: one row per frame of several corpora. If there is a column ``group``, all clips of a group count as
            one clip where subjects are unknown.
        corpus: the test corpus or corpora.
        train: the training corpus or corpora; None: all others.
        val: fraction of the frames of each training corpus for validation; approximate, since subjects are not divided.
        seed: random seed for the validation subjects.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those of other corpora, shape (N,).

    Raises:
        InputError: if a corpus is unknown, is used for both training and testing, or has fewer than two subjects or
            clips for training and validation.

    Examples:
        >>> import pandas as pd
        >>> manifest = pd.DataFrame({
        ...     "corpus": np.repeat(["a", "b"], 4), "subject": list("1122") * 2, "emotion": ["happy", "sad"] * 4
        ... })
        >>> split = leave_corpus_out(manifest, corpus="b", val=0.5, seed=42)
        >>> sorted(set(split[:4])), set(split[4:]) == {"test"}
        (['train', 'val'], True)
    """
    check_val(val)
    known = corpora(manifest)
    if corpus is None or len(known) < 2:
        raise InputError(
            "split=leave_corpus_out needs several corpora and the one to test on: give dataset=several and "
            f"split.corpus=<one of {', '.join(known)}>."
        )
    tested = _listed(corpus, "corpus", known)
    trained = [name for name in known if name not in tested] if train is None else _listed(train, "train", known)
    if both := sorted(set(tested) & set(trained)):
        raise InputError(
            f"split.corpus and split.train both have {both[0]}: test on a corpus that is not trained on, or use "
            "split=subject."
        )
    if not trained:
        raise InputError(f"split.corpus={tested} leaves no corpus for training: leave one out.")
    split = np.full(len(manifest), None, dtype=object)
    split[manifest["corpus"].isin(tested).to_numpy()] = "test"
    for name in trained:
        rows = np.flatnonzero(manifest["corpus"] == name)
        split[rows] = "train"
        _draw(manifest, rows, "val", val, seed, split, "leave_corpus_out")
    return split


def each_corpus(
    manifest: pd.DataFrame, *, train: str | Sequence[str] | None = None, val: float, test: float, seed: int
) -> np.ndarray:
    """Divides each of several corpora by subject, or by clip if its subjects are unknown.

    The test subset does not depend on the training corpora, so that training on one corpus can be compared with
    training on several.

    Args:
        manifest: one row per frame, as for :func:`leave_corpus_out`.
        train: the training corpus or corpora; None: all. Other corpora have only test frames.
        val: fraction of the frames of each training corpus for validation; approximate, since subjects are not divided.
        test: fraction of the frames of each corpus for testing; approximate.
        seed: random seed.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for the other frames of corpora that are not trained
        on, shape (N,).

    Raises:
        InputError: if a corpus is unknown or has fewer than three subjects or clips, or a fraction is out of range.
    """
    check_fractions(val, test)
    known = corpora(manifest)
    trained = known if train is None else _listed(train, "train", known)
    split = np.full(len(manifest), "train", dtype=object)
    for name in known:
        rows = np.flatnonzero(manifest["corpus"] == name)
        _draw(manifest, rows, "test", test, seed, split, "each_corpus")
        rest = rows[split[rows] == "train"]
        if name in trained:
            _draw(manifest, rest, "val", val / (1 - test), seed, split, "each_corpus")
        else:
            split[rest] = None
    return split


def _draw(
    manifest: pd.DataFrame, rows: np.ndarray, subset: str, fraction: float, seed: int, split: np.ndarray, rule: str
) -> None:
    """Moves some subjects among the rows of one corpus, or some clips if subjects are unknown, to a subset."""
    part = manifest.iloc[rows]
    units = part["subject"] if part["subject"].notna().all() else indivisible_clips(part)
    table = pd.crosstab(units, part["emotion"])
    if len(table) < 2:
        raise InputError(
            f"split={rule} cannot divide {part['corpus'].iloc[0]} into {subset} and train: {len(table)} subject or "
            "clip is left, and at least 2 are needed."
        )
    split[rows[units.isin(draw_subjects(table, fraction, seed)).to_numpy()]] = subset


def _listed(given: str | Sequence[str], setting: str, known: Sequence[str]) -> list[str]:
    names = [given] if isinstance(given, str) else [str(name) for name in given]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            f"split.{setting}={given} has no corpus {unknown[0] if unknown else ''!r}: choose among {', '.join(known)}."
        )
    return names
