"""Features of clips that other programs computed, such as the action units of OpenFace.

A table has one row per clip, or one row per frame, as CSV or Parquet; or a folder contains one such file per clip. Rows
are matched with clips by name, never by their order.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.corpora.clip_names import match_clips
from fervid.corpora.feature_columns import Choice, check_leaks, choose_columns
from fervid.corpora.feature_files import (
    MAX_ROWS,
    NAME_COLUMNS,
    FeatureTable,
    read_table,
    table_files,
)
from fervid.errors import InputError, first_line, listed

NO_FACE = "no frame with a tracked face"
MIN_NUMBERED_ROWS = 10  # fewer rows may count up by chance


@dataclass(frozen=True)
class ClipFeatures:
    """The features of the clips of a corpus.

    Attributes:
        columns: names of the F features.
        values: float32 array of shape (T, F) of each clip, where T is 1 for a table with one row per clip; None if the
            clip has no usable row.
        failures: ``path`` of each clip without features, or of its file with features, and ``reason``.
        left_out: numeric columns that are not used because they describe rows, such as ``frame`` and ``confidence``.
    """

    columns: list[str]
    values: list[np.ndarray | None]
    failures: pd.DataFrame
    left_out: list[str] = field(default_factory=list)


def read_features(
    path: str | Path,
    clips: pd.DataFrame,
    *,
    columns: Sequence[str] | str | None = None,
    recording_of: Callable[[str], str] | None = None,
) -> ClipFeatures:
    """Reads the features of clips.

    A single table needs a column with the names of the clips: ``clip``, ``name``, ``video_name``, ``file``,
    ``filename`` or ``path``. In a folder, each file is named after its clip. Folders and suffixes of names are ignored
    where they are not needed. If a name occurs in several rows, these are frames, ordered by the column ``frame`` or
    ``timestamp``. Rows with ``success=0``, in which OpenFace found no face, and frames with missing values are dropped.

    Args:
        path: path of a CSV or Parquet file, or of a folder with such files.
        clips: the corpus, one row per clip, with ``clip``, ``emotion`` and perhaps ``recording`` and ``path``.
        columns: names of columns or shell patterns such as ``AU*_r``; None: all columns of numbers, except those that
            describe the row and those named like columns of ``clips``.
        recording_of: function that returns the recording of a name without folders and suffix. A name that is not that
            of a clip fits the clips of the same recording (column ``recording``).

    Returns:
        The features, in the order of ``clips``.

    Raises:
        InputError: if the table cannot be read or has no fitting rows, the same clip has two different entries, a
            column cannot be used, or a column that is not listed by its name reveals the emotion.
    """
    path = Path(path).expanduser()
    read = _read_folder if path.is_dir() else _read_single
    choice, found, reasons = read(path, clips, columns, recording_of)
    absent = f"no {'file' if path.is_dir() else 'row'} in {path.name}"
    names = clips["path" if "path" in clips else "clip"].astype(str)
    values: list[np.ndarray | None] = [None] * len(clips)
    failures = []
    for row in range(len(clips)):
        if row in reasons:
            failures.append(reasons[row])
        elif row not in found:
            failures.append((names.iloc[row], absent))
        else:
            try:
                values[row] = _agreeing(found[row], f"{path} and the clip {clips['clip'].iloc[row]}")
            except _UnusableError as error:
                failures.append((found[row][0].path or names.iloc[row], str(error)))
    usable = [(clip, emotion) for clip, emotion in zip(values, clips["emotion"], strict=True) if clip is not None]
    if usable:
        arrays, emotions = zip(*usable, strict=True)
        check_leaks(choice.columns, choice.implicit, arrays, emotions, str(path))
    table = pd.DataFrame(failures, columns=["path", "reason"])
    return ClipFeatures(choice.columns, values, table, choice.left_out)


class _UnusableError(ValueError):
    """The rows of a clip cannot be used; the message says why."""


@dataclass(frozen=True)
class _Rows:
    """Rows of one name in a table, or of one file.

    Attributes:
        name: the name or file, for messages.
        path: path of the file in a folder of files; empty in a single table.
        columns: names of the F features.
        values: float32 array of shape (T, F); missing values are not finite.
        order: position of each row in time; None: that in the file.
        tracked: whether OpenFace found the face in each row; None: unknown.
        is_clip: whether the table has one row per clip.
    """

    name: str
    path: str
    columns: list[str]
    values: np.ndarray
    order: np.ndarray | None
    tracked: np.ndarray | None
    is_clip: bool

    def take(self, rows: np.ndarray, name: str) -> "_Rows":
        order, tracked = (None if values is None else values[rows] for values in (self.order, self.tracked))
        return _Rows(name, self.path, self.columns, self.values[rows], order, tracked, self.is_clip)

    def usable(self) -> np.ndarray:
        """Returns the usable rows in order of time, as a float32 array of shape (T, F).

        Raises:
            _UnusableError: if there are none or too many, or it is unclear which of several rows is that of a frame.
        """
        if len(self.values) > MAX_ROWS:
            raise _UnusableError(f"it has {len(self.values):,} rows, more than {MAX_ROWS:,}")
        rows = np.arange(len(self.values))
        if self.tracked is not None:
            rows = rows[self.tracked]
            if not len(rows):
                raise _UnusableError(NO_FACE)
        if self.order is not None and not self.is_clip:
            rows = rows[np.isfinite(self.order[rows])]
            rows = rows[np.argsort(self.order[rows], kind="stable")]
            same = np.flatnonzero(np.diff(self.order[rows]) == 0)
            for row, following in zip(rows[same], rows[same + 1], strict=True):
                if not np.array_equal(self.values[row], self.values[following], equal_nan=True):
                    raise _UnusableError(f"it has several rows for the frame or time {self.order[row]:g}: keep one")
            rows = np.delete(rows, same + 1)
        finite = np.isfinite(self.values[rows])
        if not finite.all(axis=1).any():
            first = self.columns[int(finite.all(axis=0).argmin())] if len(rows) else "its frame number"
            raise _UnusableError(f"{first} is missing or not finite" + ("" if self.is_clip else " in every usable row"))
        return np.ascontiguousarray(self.values[rows[finite.all(axis=1)]])


def _agreeing(entries: list[_Rows], where: str) -> np.ndarray:
    """Returns the usable rows of a clip, which may have several entries if these are equal."""
    usable, problems = [], []
    for entry in entries:
        try:
            usable.append((entry.name, entry.usable()))
        except _UnusableError as error:
            problems.append(error)
    if not usable:
        raise problems[0]
    name, values = usable[0]
    for other, others in usable[1:]:
        if not np.array_equal(values, others):
            raise InputError(f"{where}: the entries {name!r} and {other!r} both fit, with different values: keep one.")
    return values


_Found = tuple[Choice, dict[int, list[_Rows]], dict[int, tuple[str, str]]]
"""The columns, the entries of each row of the clips, and the path and reason of those that cannot be read."""


def _read_single(
    path: Path, clips: pd.DataFrame, columns: Sequence[str] | str | None, recording_of: Callable[[str], str] | None
) -> _Found:
    next(table_files(path))
    try:
        table = read_table(path)
    except ValueError as error:
        raise InputError(f"dataset.features_path={path} cannot be read: {first_line(error)}.") from error
    key, names, matches = _find_names(table, path, clips, recording_of)
    if names.isna().any():
        raise InputError(f"{path} has no {key} in row {names.index[names.isna()][0] + 2}: add it, or remove the row.")
    numeric, others = _kinds([table])
    choice = choose_columns(numeric, others, columns, reserved=set(clips.columns), where=str(path))
    is_clip = table.order is None or not names.duplicated().any()
    if is_clip:
        choice = _without_row_numbers(choice, table)
    if not choice.columns:
        raise InputError(f"{path} has no features, only columns that number its rows: {listed(choice.left_out)}.")
    rows = _Rows(path.name, "", choice.columns, table.select(choice.columns), table.order, table.tracked, is_clip)
    positions = names.groupby(names, sort=False).indices
    entries = []
    for name in names.unique():  # in the order of _find_names
        at = np.asarray(positions[name])
        same = np.repeat(rows.values[at[:1]], len(at), axis=0)
        if table.order is None and not np.array_equal(rows.values[at], same, equal_nan=True):
            raise InputError(
                f"{path} has {len(at)} rows named {name!r}: keep one per clip, or add a column frame or timestamp if "
                "they are its frames."
            )
        entries.append(rows.take(at[:1] if table.order is None else at, str(name)))
    return choice, {row: [entries[number] for number in found] for row, found in matches.items()}, {}


def _find_names(
    table: FeatureTable, path: Path, clips: pd.DataFrame, recording_of: Callable[[str], str] | None
) -> tuple[str, pd.Series, dict[int, list[int]]]:
    """Returns the first column with names of clips, its values, and the positions of the names that fit each clip."""
    if not table.names:
        raise InputError(
            f"{path} has no column with names of clips: add one of {', '.join(NAME_COLUMNS)}; it has "
            f"{listed(table.columns)}."
        )
    for key, names in table.names.items():
        unique = names.dropna().unique().tolist()
        matches = match_clips(unique, clips, recording_of, str(path))
        if matches:
            return key, names, matches
    raise _no_match(path, [name for names in table.names.values() for name in names.dropna()], clips)


def _read_folder(
    path: Path, clips: pd.DataFrame, columns: Sequence[str] | str | None, recording_of: Callable[[str], str] | None
) -> _Found:
    files = list(table_files(path))
    relative = [file.relative_to(path).as_posix() for file in files]
    matches = match_clips(relative, clips, recording_of, str(path))
    if not matches:
        raise _no_match(path, relative, clips)
    tables: dict[int, FeatureTable] = {}
    unread: dict[int, str] = {}
    for number in sorted({number for found in matches.values() for number in found}):
        try:
            tables[number] = read_table(files[number], MAX_ROWS)
        except ValueError as error:
            unread[number] = f"cannot be read: {first_line(error)}"
    if not tables:
        number, reason = next(iter(unread.items()))
        raise InputError(f"no file in {path} can be used: {relative[number]} {reason}.")
    numeric, others = _kinds(list(tables.values()))
    choice = choose_columns(numeric, others, columns, reserved=set(clips.columns), where=str(path))
    entries: dict[int, _Rows] = {}
    for number in list(tables):
        table = tables.pop(number)  # the rows are copied
        present, with_numbers = set(table.columns), set(table.numeric)
        lacking = [column for column in choice.columns if column not in present]
        if lacking:
            unread[number] = f"it lacks the column(s) {listed(lacking, 3)}"
        elif text := [column for column in choice.columns if column not in with_numbers]:
            unread[number] = f"its column(s) {listed(text, 3)} are not numeric"
        else:
            where = f"{path.name}/{relative[number]}"
            values = table.select(choice.columns)
            entries[number] = _Rows(
                relative[number], where, choice.columns, values, table.order, table.tracked, is_clip=False
            )
    found: dict[int, list[_Rows]] = {}
    reasons: dict[int, tuple[str, str]] = {}
    for row, numbers in matches.items():
        if readable := [entries[number] for number in numbers if number in entries]:
            found[row] = readable
        else:
            reasons[row] = (f"{path.name}/{relative[numbers[0]]}", unread[numbers[0]])
    return choice, found, reasons


def _kinds(tables: Sequence[FeatureTable]) -> tuple[list[str], set[str]]:
    """Returns the columns of numbers in more than half of the tables, in order, and all other columns."""
    counts: Counter[str] = Counter()
    for table in tables:
        has_values = ~np.isnan(table.values).all(axis=0)
        counts.update(name for name, has in zip(table.numeric, has_values, strict=True) if has)
    known = dict.fromkeys(name for table in tables for name in table.columns)
    numeric = [name for name in known if counts[name] > len(tables) / 2]
    return numeric, set(known) - set(numeric)


def _without_row_numbers(choice: Choice, table: FeatureTable) -> Choice:
    """Leaves out columns that number the rows, since files are often sorted by emotion or subject."""
    if len(table.values) < MIN_NUMBERED_ROWS:
        return choice
    counts_up = (np.diff(table.select(choice.implicit), axis=0) == 1).all(axis=0)
    numbers = [name for name, counts in zip(choice.implicit, counts_up, strict=True) if counts]
    kept = [name for name in choice.columns if name not in numbers]
    return Choice(kept, [name for name in choice.implicit if name not in numbers], choice.left_out + numbers)


def _no_match(path: Path, names: Sequence[str], clips: pd.DataFrame) -> InputError:
    if not names:
        return InputError(f"{path} has no names of clips in its rows: add them, like {clips['clip'].iloc[0]}.")
    return InputError(
        f"none of the {len(set(names)):,} names in {path} fits a clip of the corpus: they are like {names[0]}, its "
        f"clips like {clips['clip'].iloc[0]}; give the names of the clips."
    )
