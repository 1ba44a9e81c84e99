"""Chooses the columns of a feature table, and refuses those that would reveal the emotion."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from fervid.corpora.feature_files import NAME_COLUMNS, ORDER_COLUMNS, SUCCESS
from fervid.errors import InputError, listed

# "speech" is the fraction of frames with speech in a published table of RAVDESS, which is not a feature of the face.
BOOKKEEPING = {*NAME_COLUMNS, *ORDER_COLUMNS, SUCCESS, "face_id", "confidence", "index", "id", "row", "speech"}
UNNAMED = re.compile(r"|unnamed: \d+|level_\d+|__index_level_\d+__")  # index columns of pandas
TARGET = re.compile(
    r"(true_|gt_)?(emotion|label|class|target|category|expression|predicted)s?(_?(id|idx|index|code|number|no|name))?"
)
MIN_CLIPS_PER_VALUE = 3  # with fewer, a measurement could agree with the emotions by chance


@dataclass(frozen=True)
class Choice:
    """The chosen columns.

    Attributes:
        columns: names of the features, in the order of the table.
        implicit: those of them that were not listed by their full name, which must not reveal the emotion.
        left_out: numeric columns that are not used because of their names.
    """

    columns: list[str]
    implicit: list[str]
    left_out: list[str]


def is_bookkeeping(column: str, reserved: Collection[str] = ()) -> bool:
    """Whether a column describes a row, so that it is a feature only if it is listed by its full name.

    Args:
        column: name of the column.
        reserved: further names of such columns.
    """
    return column.lower() in BOOKKEEPING or column in reserved or UNNAMED.fullmatch(column.lower()) is not None


def choose_columns(
    numeric: Sequence[str],
    others: Collection[str],
    columns: Sequence[str] | str | None,
    *,
    reserved: Collection[str],
    where: str,
) -> Choice:
    """Chooses the columns to use.

    Args:
        numeric: names of the columns of numbers.
        others: names of all other columns.
        columns: names or shell patterns such as ``AU*_r``; None: all columns of numbers except bookkeeping.
        reserved: names of columns of the corpus, which are not features.
        where: the table, for messages.

    Raises:
        InputError: if a name or pattern fits no column of numbers, or a column that is not listed by its full name is
            named like a label.
    """
    patterns = ["*"] if columns is None else [columns] if isinstance(columns, str) else [str(name) for name in columns]
    if not patterns:
        raise InputError("dataset.feature_columns=[] selects nothing: give names, patterns such as AU*_r, or null.")
    explicit, implicit = set(), set()
    free = [name for name in numeric if not is_bookkeeping(name, reserved) or TARGET.fullmatch(name.lower())]
    for pattern in patterns:
        if pattern in numeric:  # before patterns, since a name may contain brackets
            explicit.add(pattern)
            continue
        found = {name for name in free if fnmatchcase(name, pattern)}
        if not found:
            _refuse(pattern, columns, numeric, others, where)
        implicit |= found
    implicit -= explicit
    for name in numeric:
        if name in implicit and TARGET.fullmatch(name.lower()):
            raise _leak(where, name, "is named like a label")
    return Choice(
        [name for name in numeric if name in explicit | implicit],
        [name for name in numeric if name in implicit],
        [name for name in numeric if columns is None and name not in implicit],
    )


def check_leaks(
    columns: Sequence[str],
    checked: Collection[str],
    values: Sequence[np.ndarray],
    emotions: Sequence[str],
    where: str,
) -> None:
    """Checks that no column is a label in disguise: that neither its value tells the emotion nor the reverse.

    Measurements have many values. A label, or a number computed from it, has few, each with clips of one emotion, or it
    is constant within each emotion (such as 1 for happy and 0 for all others).

    Args:
        columns: names of the F columns.
        checked: those of them to check.
        values: array of shape (T, F) of each clip.
        emotions: emotion of each clip.
        where: the table, for messages.

    Raises:
        InputError: if there is such a column.
    """
    classes, codes = np.unique(np.asarray(emotions, dtype=str), return_inverse=True)
    if len(classes) < 2:
        return
    first = np.array([clip[0] for clip in values])
    constant = np.all([(clip == clip[0]).all(axis=0) for clip in values], axis=0)  # within each clip
    for number, column in enumerate(columns):
        if column not in checked or not constant[number]:
            continue
        found, numbers = np.unique(first[:, number], return_inverse=True)
        if len(found) < 2 or len(codes) < MIN_CLIPS_PER_VALUE * max(len(found), len(classes)):
            continue
        pairs = len(np.unique(numbers * len(classes) + codes))
        if pairs == len(found) and len(found) <= 2 * len(classes):
            raise _leak(where, column, f"has {len(found)} values, each with clips of a single emotion")
        if pairs == len(classes):
            raise _leak(where, column, "has the same value in all clips of each emotion")


def _leak(where: str, column: str, why: str) -> InputError:
    return InputError(
        f"{where} has the column {column!r}, which {why} and would reveal the answer: list the features to use in "
        "dataset.feature_columns, for example [AU*]."
    )


def _refuse(pattern: str, columns: object, numeric: Sequence[str], others: Collection[str], where: str) -> None:
    if columns is None:
        raise InputError(
            f"{where} has no columns of numbers to use as features: it has {listed(sorted({*numeric, *others}))}."
        )
    if any(fnmatchcase(name, pattern) or name == pattern for name in others):
        raise InputError(
            f"dataset.feature_columns={pattern} selects a column of {where} that has no numbers: select columns of "
            "numbers."
        )
    raise InputError(
        f"dataset.feature_columns={pattern} fits no column of {where}: it has {listed([*numeric, *sorted(others)])}."
    )
