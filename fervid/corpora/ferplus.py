"""FER+: the pictures of FER2013 with the votes of ten people on each."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, note
from fervid.errors import InputError, first_line
from fervid.media.files import File, Listing, list_files
from fervid.media.formats import PICTURE_SUFFIXES
from fervid.media.sources import read_bytes
from fervid.schema.columns import VOTES
from fervid.schema.csv_tables import read_csv
from fervid.schema.emotions import choose
from fervid.schema.manifest import SPELLINGS
from fervid.schema.votes import leading, without_single_votes

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
CATEGORIES = (*EMOTIONS, "unknown", "NF")  # in the order of the columns; NF: not a face
COLUMNS = [f"{VOTES}{name}" for name in CATEGORIES]
LABELS = ("majority", "probability", "plurality")
PICTURES = {"train": 28_558, "val": 3_579, "test": 3_573}
COUNTS = {
    "majority": (10_996, 9_038, 3_941, 3_752, 2_656, 157, 682, 151),
    "probability": (12_370, 9_255, 4_322, 4_175, 2_959, 211, 789, 194),
    "plurality": (11_761, 9_193, 4_233, 4_238, 3_021, 226, 817, 218),
}
"""Pictures of each emotion under each of :data:`LABELS`, counted with the published votes (``label.csv``)."""
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}  # in fer2013.csv and fer2013new.csv
FOLDER = re.compile(r"(?:fer[ _-]*2013[ _-]*)?([a-z]+)", re.IGNORECASE)
SIDE = 48  # of a picture, in pixels
NOT_A_FACE, UNKNOWN = "not a face by the votes", "unknown emotion by the votes"
REASONS = {
    "majority": "without an emotion that has more than half of the votes",
    "probability": "without up to three emotions that have most of the votes",
    "plurality": "with several categories that have the most votes",
}


class FERPlus(Corpus):
    """FER+ (Barsoum, Zhang, Canton Ferrer & Zhang 2016): 35,710 pictures of FER2013, each with the votes of ten people.

    The votes are on eight emotions, *unknown* and *NF* (not a face). They are kept in the columns ``votes_<category>``
    of the manifest, as published. The label is derived from them by the rules of the published code
    (https://github.com/microsoft/FERPlus, ``_process_data`` of ``src/ferplus.py``):

    1. Votes of one person for a category are outliers and do not count.
    2. ``labels="majority"``: the label is the category with more than half of the remaining votes. Pictures without
       one are left out.
    3. ``labels="probability"``, for training on the distribution of the votes: from the most frequent category on,
       categories are collected until they have three quarters of the remaining votes; emotions that are less frequent
       than *unknown* or *NF* are not collected. A picture is used if one to three emotions were collected that have
       more than half of the remaining votes. Its label is the most frequent emotion, the first one in the order of
       :data:`EMOTIONS` if there are several. As in the published code (``src/train.py``), this applies to the training
       subset, and rule 2 to validation and test.
    4. Pictures whose label is *unknown* or *NF* are left out.

    ``labels="plurality"`` is not from the paper, but common in later ones: the label is the category with the most
    remaining votes; pictures with several such categories are left out.

    Subjects are unknown. The official subsets are available as ``split=predefined``.

    Args:
        root: Path to ``FERPlus.zip``, which is not unpacked; to a folder that contains it or the unpacked folders
            ``FER2013Train``, ``FER2013Valid`` and ``FER2013Test``, each with pictures and their votes in ``label.csv``;
            or to a folder with ``fer2013.csv`` (the pictures) and ``fer2013new.csv`` (the votes). Folders without
            ``label.csv`` use ``fer2013new.csv`` if it is there.
        labels: ``majority``, ``probability`` or ``plurality``.
        emotions: emotions to use; None: all eight.

    Raises:
        InputError: if an option is invalid, or files are missing or cannot be read.
    """

    name = "ferplus"
    licence = "votes: MIT (Microsoft); pictures: FER2013, for research"
    citation = (
        "E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang: Training Deep Networks for Facial Expression Recognition "
        "with Crowd-Sourced Label Distribution. ICMI, 2016. https://doi.org/10.1145/2993148.2993165"
    )
    expressions = "come from a web search for emotion words and may be acted or spontaneous; ten people voted on each."
    pictures = True

    def __init__(self, root: str | Path | None, *, labels: str = "majority", emotions: Sequence[str] | None = None):
        super().__init__(root)
        if labels not in LABELS:
            raise InputError(f"dataset.labels={labels} is unknown: choose {', '.join(LABELS[:-1])} or {LABELS[-1]}.")
        self.labels = labels
        self.emotions = choose(emotions, EMOTIONS)
        self.selected = {} if emotions is None else {"emotions": sorted(self.emotions)}

    def choices(self) -> dict[str, Any]:
        return {"labels": self.labels, "emotions": [name for name in EMOTIONS if name in self.emotions]}

    def read(self) -> Inventory:
        """Reads the votes and derives the labels; pictures are decoded later."""
        listing = list_files(self.root, PICTURE_SUFFIXES | {".csv"})
        tables = {file.parts[-1].lower(): file for file in listing.files if file.suffix == ".csv"}
        pictures = [file for file in listing.files if file.suffix != ".csv"]
        published = _published_votes(tables.get("fer2013new.csv"))
        if pictures:
            rows = _from_folders(listing, pictures, published)
        elif published is not None and "fer2013.csv" in tables:
            rows = _from_pixels(listing, tables["fer2013.csv"], published)
        else:
            raise InputError(
                f"dataset.root={self.root} has neither pictures in folders such as FER2013Train, nor both fer2013.csv "
                f"and fer2013new.csv: give FERPlus.zip, or its folder. {' '.join(listing.notes)}".strip()
            )
        rows, dropped = _without_bad_rows(rows)
        rows["emotion"], why = self._label(rows)
        for reason in dict.fromkeys(why.dropna().sort_values()):
            listing.leave_out(reason, rows.loc[why == reason, "path"].tolist())
        found = rows.groupby("predefined_split").size()
        notes = [
            f"{subset}: {found.get(subset, 0)} of {count} pictures with votes were found."
            for subset, count in PICTURES.items()
            if found.get(subset, 0) != count
        ]
        used = rows[rows["emotion"].isin(self.emotions)]
        counts = dict(zip(EMOTIONS, COUNTS[self.labels], strict=True))
        missing = [] if published is None else self._missing(published, set(rows["clip"]) | set(dropped["clip"]))
        return Inventory(
            used[["clip", "emotion", "predefined_split", *COLUMNS]].assign(subject=None).reset_index(drop=True),
            used["file"].tolist(),
            expected={name: counts[name] for name in EMOTIONS if name in self.emotions},
            selected=self.selected,
            missing=missing,
            notes=listing.notes + notes,
            left_out=listing.left_out,
            dropped=dropped[["path", "reason"]],
        )

    def sources(self) -> Iterator[Any]:
        """Yields the file of each picture, or its bytes if it comes from ``fer2013.csv``, in the order of the rows."""
        files = self.inventory.files
        if files and files[0].suffix == ".csv":
            used = {int(file.parts[-1]) for file in files}
            yield from (picture for row, picture in enumerate(_pictures(files[0])) if row in used)
        else:
            yield from super().sources()

    def _label(self, rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        """Returns the label of each row, and why it has none; each is missing where the other is given."""
        votes = without_single_votes(rows[COLUMNS].to_numpy(dtype=float))
        label, reason = _labels(votes, "majority" if self.labels == "probability" else self.labels)
        if self.labels == "probability":
            train = (rows["predefined_split"] == "train").to_numpy()
            label[train], reason[train] = _labels(votes[train], "probability")
        return pd.Series(label, rows.index, dtype=object), pd.Series(reason, rows.index, dtype=object)

    def _missing(self, published: pd.DataFrame, found: set[str]) -> list[str]:
        """Returns the names of published pictures that have a label but were not found."""
        absent, _ = _without_bad_rows(published[published["clip"].notna() & ~published["clip"].isin(found)])
        absent = absent.drop_duplicates("clip")
        return absent["clip"][self._label(absent)[0].isin(self.emotions)].tolist() if len(absent) else []


def _labels(votes: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Applies a rule to votes (N, 10) without outliers; returns N labels and N reasons, None where not given."""
    total, top = votes.sum(axis=1), votes.argmax(axis=1)
    most = votes.max(axis=1)
    if rule == "majority":
        found = most > 0.5 * total
    elif rule == "plurality":
        found = (votes == most[:, None]).sum(axis=1) == 1
    else:
        emotions = votes[:, : len(EMOTIONS)]
        others = votes[:, len(EMOTIONS) :].max(axis=1, keepdims=True)
        collected = np.where(emotions >= others, leading(votes, 0.75)[:, : len(EMOTIONS)], 0)
        is_other = (top >= len(EMOTIONS)) & (most > emotions.max(axis=1, initial=0))
        found = is_other | ((collected.sum(axis=1) > 0.5 * total) & ((collected > 0).sum(axis=1) <= 3))
    names = np.array([*EMOTIONS, None, None], dtype=object)
    reasons = np.array([None] * len(EMOTIONS) + [UNKNOWN, NOT_A_FACE], dtype=object)
    label, reason = names[top], reasons[top]
    label[~found], reason[~found] = None, REASONS[rule]
    return label, reason


def _published_votes(file: File | None) -> pd.DataFrame | None:
    """Reads ``fer2013new.csv``: ``clip`` (missing if the row has no picture name), ``usage`` and the votes."""
    if file is None:
        return None
    table = _read(file)
    table.columns = [str(name).lower() for name in table.columns]
    expected = ["usage", "image name", *(name.lower() for name in CATEGORIES)]
    _check_columns(file, table, expected)
    table = table[expected].set_axis(["usage", "clip", *COLUMNS], axis=1)
    return table.assign(clip=table["clip"].str.replace(r"\.\w+$", "", regex=True), path=table["clip"])


def _from_folders(listing: Listing, pictures: list[File], published: pd.DataFrame | None) -> pd.DataFrame:
    """Joins the pictures in the folders of subsets with their votes: one row per picture or row of votes."""
    labels = {file.path.rpartition("/")[0]: file for file in listing.files if file.parts[-1].lower() == "label.csv"}
    folders: dict[str, dict[str, File]] = {}
    misplaced: list[str] = []
    duplicates: list[str] = []
    seen: set[str] = set()
    for file in pictures:
        folder = file.path.rpartition("/")[0]
        if _subset(folder) is None:
            misplaced.append(file.path)
        elif file.stem in seen:
            duplicates.append(file.path)
        else:
            seen.add(file.stem)
            folders.setdefault(folder, {})[file.stem] = file
    listing.leave_out("not in a folder such as FER2013Train, FER2013Valid or FER2013Test", misplaced)
    listing.leave_out("duplicates", duplicates)
    parts: list[pd.DataFrame] = []
    without_table: list[str] = []
    other_votes: list[str] = []
    for folder, files in folders.items():
        if folder in labels:
            votes = _folder_votes(labels[folder])
            if published is not None:
                other_votes += _other_votes(votes, published, folder)
        elif published is not None:
            without_table.append(folder)
            votes = published[published["clip"].isin(files)]
        else:
            raise InputError(
                f"{folder} has no label.csv, and there is no fer2013new.csv: add one of them, which have the votes."
            )
        votes = votes.drop_duplicates("clip")
        unlisted = sorted(files.keys() - set(votes["clip"]))
        listing.leave_out(f"without votes in {folder}", [files[name].path for name in unlisted])
        parts.append(
            votes.assign(
                predefined_split=_subset(folder),
                file=votes["clip"].map(files),
                path=[files[name].path if name in files else f"{folder}/{name}" for name in votes["clip"]],
            )
        )
    if not parts:
        raise InputError(
            "dataset.root has pictures, but none in a folder such as FER2013Train, FER2013Valid or FER2013Test: give "
            "FERPlus.zip, or its unpacked folders."
        )
    listing.notes += note("folders without label.csv, with votes from fer2013new.csv", without_table)
    listing.notes += note("with other votes in fer2013new.csv; those in label.csv are used", other_votes)
    return pd.concat(parts, ignore_index=True)


def _folder_votes(file: File) -> pd.DataFrame:
    """Reads ``label.csv``: the name of a picture, its box in newer versions, and the votes; it has no header."""
    table = _read(file, header=None)
    if len(table.columns) not in (len(CATEGORIES) + 1, len(CATEGORIES) + 2):
        raise InputError(
            f"{file.path} has {len(table.columns)} columns: a name, a box and {len(CATEGORIES)} numbers of votes are "
            "expected."
        )
    names = table.iloc[:, 0].fillna("").str.replace(r"\.\w+$", "", regex=True)
    return table.iloc[:, -len(CATEGORIES) :].set_axis(COLUMNS, axis=1).assign(clip=names)


def _other_votes(votes: pd.DataFrame, published: pd.DataFrame, folder: str) -> list[str]:
    """Returns the pictures of a folder whose votes differ from those in ``fer2013new.csv``."""
    both = votes.drop_duplicates("clip").merge(published.drop_duplicates("clip"), on="clip", suffixes=("", "_new"))
    differ = (both[COLUMNS].to_numpy() != both[[f"{name}_new" for name in COLUMNS]].to_numpy()).any(axis=1)
    return [f"{folder}/{name}" for name in both["clip"][differ]]


def _from_pixels(listing: Listing, file: File, published: pd.DataFrame) -> pd.DataFrame:
    """Joins the rows of ``fer2013.csv`` with their votes: both files have the same rows in the same order."""
    _check_columns(file, _read(file, nrows=0), ["emotion", "pixels", "Usage"])
    usage = _read(file, usecols=["Usage"])["Usage"]
    if not usage.reset_index(drop=True).equals(published["usage"].reset_index(drop=True)):
        raise InputError(
            f"{file.path} has {len(usage)} rows, and fer2013new.csv has {len(published)} rows or others in its column "
            "Usage: give the two files with the same rows in the same order."
        )
    unknown = sorted(set(usage.dropna()) - USAGES.keys())
    if unknown or usage.isna().any():
        raise InputError(f"{file.path} has the Usage {unknown[0] if unknown else ''!r}: use {', '.join(USAGES)}.")
    paths = [f"{file.path}/{row}" for row in range(len(published))]
    files = [File(path, file.source, file.stamp, file.suffix) for path in paths]
    rows = published.assign(
        predefined_split=usage.map(USAGES), path=paths, file=pd.Series(files, published.index, dtype=object)
    )
    rows["clip"] = rows["clip"].fillna(rows["path"])  # the published file names no picture that is not a face
    duplicate = rows["clip"].duplicated()  # in the folders, such a name is one picture
    listing.leave_out("with the name of an earlier picture", rows.loc[duplicate, "path"].tolist())
    return rows[~duplicate]


def _without_bad_rows(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Converts the votes to whole numbers, and splits off unusable rows, with ``clip``, ``path`` and ``reason``."""
    votes = rows[COLUMNS].apply(pd.to_numeric, errors="coerce").astype(float)
    reason = pd.Series(None, rows.index, dtype=object)
    reason[(votes == 0).all(axis=1)] = "no votes"
    reason[(~(votes >= 0) | (votes % 1 != 0)).any(axis=1)] = "votes are not whole numbers"
    if "file" in rows:
        reason[rows["file"].isna()] = "no such picture"
    usable = reason.isna()
    good = rows[usable].assign(**votes[usable].astype("int64"))
    return good, rows.loc[~usable, ["clip", "path"]].assign(reason=reason[~usable])


def _pictures(file: File) -> Iterator[bytes]:
    """Yields the picture of each row of ``fer2013.csv``, given one of its rows, as PGM; empty if it is not valid."""
    source = file.source
    with (
        open(source, encoding="utf-8-sig", newline="")
        if isinstance(source, Path)
        else io.StringIO(_text(file), newline="") as lines
    ):
        rows = csv.reader(lines)
        column = [name.strip() for name in next(rows)].index("pixels")
        try:
            for row in rows:
                if row:
                    yield _pgm(row[column]) if len(row) > column else b""
        except (csv.Error, ValueError, OSError) as error:
            table = file.path.rpartition("/")[0]
            raise InputError(f"{table} cannot be read ({first_line(error)}): download it again.") from error


def _pgm(pixels: str) -> bytes:
    try:
        values = bytes(map(int, pixels.split()))
    except ValueError:  # not a number, or not 0 to 255
        return b""
    return b"P5 %d %d 255\n" % (SIDE, SIDE) + values if len(values) == SIDE**2 else b""


def _read(file: File, **options: Any) -> pd.DataFrame:
    try:
        source = file.source if isinstance(file.source, Path) else io.StringIO(_text(file))
        return read_csv(source, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.path} cannot be read ({first_line(error)}): unpack or download it again.") from error


def _text(file: File) -> str:
    return read_bytes(file.source).decode("utf-8-sig")


def _check_columns(file: File, table: pd.DataFrame, expected: list[str]) -> None:
    absent = [name for name in expected if name not in table]
    if absent:
        raise InputError(
            f"{file.path} has the columns {', '.join(map(str, table.columns))}, but no {' and no '.join(absent)}: give "
            "the file as published."
        )


def _subset(folder: str) -> str | None:
    """Returns the subset that a folder such as ``FERPlus/FER2013Valid`` is named after; None if it is not."""
    name = FOLDER.fullmatch(folder.rpartition("/")[2])
    return SPELLINGS.get(name[1].lower()) if name else None
