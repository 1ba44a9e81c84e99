"""Splits by corpus: tests on corpora that were left out of training."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import corpora, keys
from fervid.splits.groups import check_val, draw_subjects, indivisible_clips


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
        part = manifest.iloc[rows]
        units = keys(part, "subject") if part["subject"].notna().all() else indivisible_clips(part)
        table = pd.crosstab(units, part["emotion"])
        if len(table) < 2:
            raise InputError(
                f"split=leave_corpus_out cannot divide {name} into training and validation: it has {len(table)} "
                "subject or clip, and at least 2 are needed."
            )
        split[rows] = np.where(units.isin(draw_subjects(table, val, seed)), "val", "train")
    return split


def _listed(given: str | Sequence[str], setting: str, known: Sequence[str]) -> list[str]:
    names = [given] if isinstance(given, str) else [str(name) for name in given]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            f"split.{setting}={given} has no corpus {unknown[0] if unknown else ''!r}: choose among {', '.join(known)}."
        )
    return names
