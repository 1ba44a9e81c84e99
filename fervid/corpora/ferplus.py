"""FER+: the pictures of FER2013 with the votes of ten people on each."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.corpora.inventory import Inventory, note
from fervid.corpora.picture_corpus import PictureCorpus, subset_notes
from fervid.corpora.pixel_tables import check_columns, check_usages, read_pixel_rows, read_table
from fervid.errors import InputError
from fervid.media.files import File, Listing, list_files
from fervid.media.formats import PICTURE_SUFFIXES
from fervid.schema.columns import VOTES
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
FOLDER = re.compile(r"(?:fer[ _-]*2013[ _-]*)?([a-z]+)", re.IGNORECASE)
NOT_A_FACE, UNKNOWN = "not a face by the votes", "unknown emotion by the votes"
REASONS = {
    "majority": "without an emotion that has more than half of the votes",
    "probability": "without up to three emotions that have most of the votes",
    "plurality": "with several categories that have the most votes",
}


class FERPlus(PictureCorpus):
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

    def __init__(self, root: str | Path | None, *, labels: str = "majority", emotions: Sequence[str] | None = None):
        if labels not in LABELS:
            raise InputError(f"dataset.labels={labels} is unknown: choose {', '.join(LABELS[:-1])} or {LABELS[-1]}.")
        super().__init__(root, dict(zip(EMOTIONS, COUNTS[labels], strict=True)), emotions)
        self.labels = labels

    def choices(self) -> dict[str, Any]:
        return {"labels": self.labels, **super().choices()}

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
        missing = [] if published is None else self._missing(published, set(rows["clip"]) | set(dropped["clip"]))
        return self.take_stock(
            listing,
            rows[["clip", "emotion", "predefined_split", *COLUMNS, "file"]].assign(subject=None),
            notes=subset_notes(rows["predefined_split"], PICTURES, "pictures with votes"),
            missing=missing,
            dropped=dropped[["path", "reason"]],
        )

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
    table = read_table(file)
    table.columns = [str(name).lower() for name in table.columns]
    expected = ["usage", "image name", *(name.lower() for name in CATEGORIES)]
    check_columns(file, table, expected)
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
    table = read_table(file, header=None)
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
    pixels = read_pixel_rows(file)
    if not pixels["Usage"].equals(published["usage"].reset_index(drop=True).rename("Usage")):
        raise InputError(
            f"{file.path} has {len(pixels)} rows, and fer2013new.csv has {len(published)} rows or others in its column "
            "Usage: give the two files with the same rows in the same order."
        )
    rows = published.assign(
        predefined_split=check_usages(file, pixels["Usage"]),
        path=[row.path for row in pixels["file"]],
        file=pixels["file"],
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


def _subset(folder: str) -> str | None:
    """Returns the subset that a folder such as ``FERPlus/FER2013Valid`` is named after; None if it is not."""
    name = FOLDER.fullmatch(folder.rpartition("/")[2])
    return SPELLINGS.get(name[1].lower()) if name else None
