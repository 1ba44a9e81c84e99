"""Reads tables of posteriors: probabilities of clips that another program predicted, for late fusion with runs."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from fervid.errors import InputError, first_line, listed
from fervid.schema.columns import PROBABILITY, corpora
from fervid.schema.csv_tables import read_csv
from fervid.schema.emotions import SHARED, shared_name

CLIP_COLUMNS = ("clip", "video_name", "name", "file", "path")  # columns that can name the clip; the first is used
PREFIXES = (PROBABILITY, "probability_")
EMOTIONS = {*SHARED.values(), "neutral", "calm", "contempt", "bored", "boredom"}  # shared names of usual columns
VALUES = ("probabilities", "logits")
SUM_TOLERANCE = 0.02  # of a row's sum: probabilities are often rounded to two or three digits
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,3}$")  # of a file name: .mp4, but not the number in happy.2
NUMBERED = re.compile(r"(\D*)(\d+)")


@dataclass(frozen=True)
class PosteriorTable:
    """Probabilities of clips, read from CSV files.

    Attributes:
        name: short name: the file name without ending and wildcards.
        source: path or pattern, as given.
        class_names: names of the C classes, as in the files.
        clips: name of each of the K clips, as in the files; all different.
        probabilities: probabilities (K, C); each row sums to 1.
        values: what the files contain: ``probabilities`` or ``logits``.
    """

    name: str
    source: str
    class_names: list[str]
    clips: list[str]
    probabilities: np.ndarray
    values: str = "probabilities"

    @cached_property
    def stems(self) -> list[str]:
        """Names of the clips without folders and file ending."""
        return [clip_stem(name) for name in self.clips]

    @cached_property
    def recordings(self) -> list[str]:
        """Stems without the first field, which is the modality in RAVDESS: ``01-02-03`` becomes ``02-03``."""
        return [stem.partition("-")[2] for stem in self.stems]

    def match(self, frames: pd.DataFrame) -> tuple[np.ndarray, str]:
        """Finds the row of each frame's clip.

        Clips are matched by their names; if none matches, by their names without folder and file ending; if still none
        matches and the frames have the column ``recording``, by recording.

        Args:
            frames: N rows with ``corpus``, ``clip`` and optionally ``recording``.

        Returns:
            The row of the clip of each frame, shape (N,), -1 if the table lacks it; and what was matched: ``clip`` or
            ``recording``.

        Raises:
            InputError: if no clip matches, several rows match a clip, or the frames are of several corpora that use
                the same clip names.
        """
        if len(corpora(frames)) > 1 and (frames.groupby("clip")["corpus"].nunique() > 1).any():
            raise InputError(
                f"posteriors={self.source} names clips without their corpus, but {', '.join(corpora(frames))} have "
                "clips of the same name: evaluate runs of a single corpus."
            )
        ways = [("clip", self.clips, frames["clip"]), ("clip", self.stems, frames["clip"].map(clip_stem))]
        if "recording" in frames:
            ways.append(("recording", self.recordings, frames["recording"]))
        for matched, names, wanted in ways:
            table = pd.Series(np.arange(len(names)), index=names)
            used = table[table.index.isin(wanted.dropna())]
            if used.empty:
                continue
            if not used.index.is_unique:
                twice = used.index[used.index.duplicated()][0]
                rows = ", ".join(self.clips[row] for row in used[used.index == twice])
                raise InputError(
                    f"posteriors={self.source} has several rows for the {matched} {twice} ({rows}): keep one of them."
                )
            return wanted.map(used).fillna(-1).to_numpy(dtype=int), matched
        raise InputError(
            f"posteriors={self.source} has no row for any of the {frames['clip'].nunique()} evaluated clips: its names "
            f"are such as {self.clips[0]}, those of the clips such as {frames['clip'].iloc[0]}; rename the rows or "
            "give another table."
        )


def clip_stem(name: str) -> str:
    """Returns the name of a clip without folders and file ending.

    Examples:
        >>> clip_stem("Actor_05/01-01-08-02-02-02-05.mp4"), clip_stem("happy.2")
        ('01-01-08-02-02-02-05', 'happy.2')
    """
    return ENDING.sub("", PurePosixPath(str(name).replace("\\", "/")).name)


def read_tables(posteriors: Any, classes: Any, values: Any, known: Sequence[str] = ()) -> list[PosteriorTable]:
    """Reads the tables given on the command line.

    Args:
        posteriors: None, a path or glob pattern, or a list of them; one table each.
        classes: names of numbered columns, for all tables; or a list of such lists, one for each table.
        values: one of :data:`VALUES`, for all tables; or a list, one for each table.
        known: emotions of the runs, which columns may be named as.

    Raises:
        InputError: if a table cannot be used, or the lists do not have one entry per table.
    """
    sources = [str(source) for source in _as_list(posteriors)]
    classes = _as_list(classes)
    is_nested = any(_is_list(each) for each in classes)
    classes_by_table = classes if is_nested else [classes] * len(sources)
    values_by_table = list(values) if _is_list(values) else [values] * len(sources)
    for name, found in (("posterior_classes", classes_by_table), ("posterior_values", values_by_table)):
        if len(found) != len(sources):
            raise InputError(
                f"{name} has {len(found)} entries for {len(sources)} table{'s'[: len(sources) != 1]} in posteriors: "
                "give one for all tables, or one for each."
            )
    tables: list[PosteriorTable] = []
    for source, names, scale in zip(sources, classes_by_table, values_by_table, strict=True):
        if source in [table.source for table in tables]:
            raise InputError(f"posteriors= contains {source} twice: give each table once, and its weight in weights=.")
        given = [str(name) for name in _as_list(names)]
        tables.append(read_posteriors(source, given, values=scale, known=known))
    return tables


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)  # includes the lists of OmegaConf


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if _is_list(value) else [value]


def read_posteriors(
    source: str, classes: Sequence[str] = (), *, values: str = "probabilities", known: Sequence[str] = ()
) -> PosteriorTable:
    """Reads a table of posteriors with one row per clip.

    The clip is named by the first of the columns :data:`CLIP_COLUMNS`. Columns of probabilities are named as an
    emotion, ``prob_<emotion>`` or ``probability_<emotion>``, or numbered, such as ``embs0`` to ``embs7``. Fields are
    separated by commas or semicolons. Other columns are ignored.

    Args:
        source: path of a CSV file, or a glob pattern whose files are concatenated, such as those of several folds.
        classes: names of numbered columns, in order.
        values: ``probabilities``, or ``logits``, to which softmax is applied.
        known: further emotions that columns may be named as.

    Raises:
        InputError: if a file cannot be read, its columns are unclear, a clip has two rows, or a row does not contain
            probabilities.
    """
    if values not in VALUES:
        raise InputError(f"posterior_values={values} is unknown: choose {' or '.join(VALUES)}.")
    path = Path(source).expanduser()
    files = [path] if path.is_file() else [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    if not files:
        raise InputError(f"posteriors={source} is not a file, and no file matches it: give the path of a CSV file.")
    names: list[str] = []
    clips: list[str] = []
    parts = []
    for file in files:
        file_clips, file_names, found = _read(file, classes, known)
        names = names or file_names
        if set(file_names) != set(names):
            raise InputError(
                f"{file} has the classes {', '.join(file_names)}, but {files[0]} has {', '.join(names)}: give files "
                "with the same classes, or several tables."
            )
        parts.append(
            _probabilities(found, file, file_clips, file_names, values)[:, [file_names.index(n) for n in names]]
        )
        clips += file_clips
    twice = pd.Index(clips)[pd.Index(clips).duplicated()]
    if len(twice):
        raise InputError(f"posteriors={source} has several rows for the clip {twice[0]}: give one row per clip.")
    return PosteriorTable(_name(path), source, names, clips, np.concatenate(parts), values)


def _name(path: Path) -> str:
    return re.sub(r"[*?\[\]]+", "", path.name).removesuffix(".csv").strip("_- ") or "posteriors"


def _read(file: Path, classes: Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str], pd.DataFrame]:
    """Names of the clips, names of the classes, and the cells of the probability columns as text."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        table = read_csv(file, sep=";" if header.count(";") > header.count(",") else ",")
    except (OSError, ValueError) as error:
        raise InputError(f"posteriors: {file} cannot be read: {first_line(error)}.") from error
    columns = [str(name) for name in table]
    lower = {name.lower(): name for name in reversed(columns)}
    key = next((lower[name] for name in CLIP_COLUMNS if name in lower), None)
    if key is None or table.empty:
        lacks = f"has no column that names the clip ({', '.join(CLIP_COLUMNS)})" if key is None else "has no rows"
        raise InputError(f"posteriors: {file} {lacks}: its columns are {listed(columns)}.")
    if table[key].isna().any():
        line = int(np.flatnonzero(table[key].isna())[0]) + 2
        raise InputError(f"posteriors: {file} has no name in the column {key} of line {line}: give each row its clip.")
    by_column = _classes_by_column([name for name in columns if name != key], classes, known, file)
    return [str(name) for name in table[key]], list(by_column.values()), table[list(by_column)]


def _classes_by_column(
    columns: Sequence[str], classes: Sequence[str], known: Sequence[str], file: Path
) -> dict[str, str]:
    """The columns of probabilities and their classes, in order."""
    prefixed = {name: name.removeprefix(each) for each in PREFIXES for name in columns if name.startswith(each)}
    if prefixed and not all(name.isdigit() for name in prefixed.values()):
        return prefixed
    emotions = EMOTIONS | {shared_name(name) for name in (*known, *classes)}
    named = [name for name in columns if shared_name(name) in emotions]
    if len(named) > 1:
        return {name: name for name in named}
    numbered: dict[str, dict[int, str]] = {}
    for name in columns:
        if found := NUMBERED.fullmatch(name):
            numbered.setdefault(found[1], {})[int(found[2])] = name
    series = max(numbered.values(), key=len, default={})
    if len(series) < 2:
        raise InputError(
            f"posteriors: {file} has no columns of probabilities: name them as the emotions, such as happy or "
            f"prob_happy; its columns are {listed(columns)}."
        )
    ordered = [series[number] for number in sorted(series)]
    if len(classes) != len(ordered):
        lacks = f"posterior_classes has {len(classes)} names" if classes else "their emotions are unknown"
        raise InputError(
            f"posteriors: {file} has the {len(ordered)} columns {', '.join(ordered)}, but {lacks}: give the emotions "
            "in this order, such as posterior_classes=[neutral,happy,...]."
        )
    return dict(zip(ordered, classes, strict=True))


def _probabilities(
    cells: pd.DataFrame, file: Path, clips: Sequence[str], class_names: Sequence[str], values: str
) -> np.ndarray:
    """Checks the cells and converts them to probabilities (K, C) that sum to 1."""
    if len({shared_name(name) for name in class_names}) < len(class_names):
        raise InputError(f"posteriors: {file} has two columns for one emotion ({', '.join(class_names)}): remove one.")
    numbers = cells.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)

    def refuse(wrong: np.ndarray, problem: str) -> None:
        row, column = (int(place[0]) for place in np.nonzero(wrong))
        raise InputError(
            f"posteriors: {file} has {cells.iat[row, column]!s} for {class_names[column]} of {clips[row]}: {problem}."
        )

    if not np.isfinite(numbers).all():
        refuse(~np.isfinite(numbers), "give finite numbers")
    if values == "logits":
        return softmax(numbers, axis=1)
    if ((numbers < 0) | (numbers > 1)).any():
        refuse(
            (numbers < 0) | (numbers > 1), "a probability is between 0 and 1; for logits give posterior_values=logits"
        )
    sums = numbers.sum(axis=1)
    if (abs(sums - 1) > SUM_TOLERANCE).any():
        row = int(abs(sums - 1).argmax())
        raise InputError(
            f"posteriors: {file}: the probabilities of {clips[row]} ({', '.join(class_names)}) sum to {sums[row]:.3f} "
            "instead of 1: give all classes, or name them with posterior_classes."
        )
    return numbers / sums[:, None]
