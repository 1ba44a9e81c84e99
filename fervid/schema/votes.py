"""Votes of several people on one clip or picture: which of them count, and their distribution over the classes.

A table with votes has a column ``votes_<name>`` for each class, and possibly for further answers such as *unknown*.
Names are compared by :func:`fervid.schema.emotions.shared_name`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import VOTES
from fervid.schema.emotions import shared_name

LEADING_SHARE = 0.75  # of the votes that count; as in the code of FER+


def without_single_votes(votes: np.ndarray) -> np.ndarray:
    """Sets votes of a single person for a category to 0, as outliers. Source: Barsoum et al. 2016.

    Args:
        votes: number of votes, shape (N, K).
    """
    return np.where(votes > 1, votes, 0)


def leading(votes: np.ndarray, share: float = LEADING_SHARE) -> np.ndarray:
    """Keeps the most frequent categories of each row until they have a share of its votes; the others become 0.

    Equally frequent categories are kept or set to 0 together.

    Args:
        votes: number of votes, shape (N, K).
        share: share of the votes from which on further categories are set to 0.

    Examples:
        >>> leading(np.array([[5, 3, 2, 0], [4, 2, 2, 2]])).tolist()
        [[5, 3, 0, 0], [4, 2, 2, 2]]
    """
    more = votes[:, None, :] > votes[:, :, None]
    ahead = (more * votes[:, None, :]).sum(axis=2)
    return np.where(ahead < share * votes.sum(axis=1, keepdims=True), votes, 0)


def mistake(table: pd.DataFrame, class_names: Sequence[str]) -> str | None:
    """Returns why a table has no distribution of votes over the classes, as a sentence; None if it has one."""
    columns = _columns(table)
    absent = [name for name in class_names if shared_name(name) not in columns]
    if absent:
        return (
            f"the corpus has no column {VOTES}{absent[0]}: task=soft_labels needs the number of votes for each class, "
            "as in dataset=ferplus; use task=classification for other corpora."
        )
    votes = _numbers(table)
    bad = ~(np.isfinite(votes) & (votes >= 0)).all(axis=1)
    if bad.any():
        return (
            f"{_first(table, bad)} has votes that are missing or not numbers of 0 or more: give the number of votes in "
            f"every column {VOTES}<name>, or leave the clip out."
        )
    none = votes[:, _positions(columns, class_names)].sum(axis=1) == 0
    if none.any():
        return (
            f"{_first(table, none)} has no votes for any of the classes {', '.join(class_names)}: give its votes, or "
            "leave the clip out."
        )
    return None


def distributions(table: pd.DataFrame, class_names: Sequence[str]) -> np.ndarray:
    """Returns the distribution of the votes over the classes, float32 (N, C), as in the published code of FER+.

    Votes of a single person for a category do not count, and only the most frequent categories that together have three
    quarters of the remaining votes do. Votes for other categories than the classes count in these rules, but not in the
    distribution. If no vote for a class remains, all votes for the classes count.

    Args:
        table: n rows with columns of votes.
        class_names: the C classes.

    Raises:
        InputError: if a class has no column of votes, or a row has no votes for any class.

    Examples:
        >>> names = ["votes_neutral", "votes_happiness", "votes_sadness", "votes_unknown"]
        >>> table = pd.DataFrame([[6, 2, 1, 1], [1, 1, 0, 0]], columns=names)
        >>> distributions(table, ["happy", "neutral", "sad"]).tolist()
        [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    """
    wrong = mistake(table, class_names)
    if wrong:
        raise InputError(wrong)
    votes, of_classes = _numbers(table), _positions(_columns(table), class_names)
    counted = leading(without_single_votes(votes))[:, of_classes]
    none_left = counted.sum(axis=1) == 0
    counted[none_left] = votes[none_left][:, of_classes]
    return (counted / counted.sum(axis=1, keepdims=True)).astype(np.float32)


def _columns(table: pd.DataFrame) -> dict[str, str]:
    """Returns the columns of votes by the shared name of their category."""
    names = [str(name) for name in table if str(name).startswith(VOTES)]
    return {shared_name(name.removeprefix(VOTES)): name for name in names}


def _numbers(table: pd.DataFrame) -> np.ndarray:
    """Returns the votes, float64 (N, K); NaN where a cell is not a number."""
    return table[list(_columns(table).values())].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)


def _positions(columns: Sequence[str] | dict[str, str], class_names: Sequence[str]) -> list[int]:
    return [list(columns).index(shared_name(name)) for name in class_names]


def _first(table: pd.DataFrame, selected: np.ndarray) -> str:
    return f"the clip {str(table['clip'].iloc[int(selected.argmax())])!r}"
