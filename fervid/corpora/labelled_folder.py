"""Any folder of pictures or videos, one sub-folder an emotion, or a CSV that says what is what."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, note
from fervid.errors import InputError, first_line
from fervid.media.files import File, list_files, stamp
from fervid.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.schema.columns import LISTED, RESERVED, check_spelling
from fervid.schema.csv_tables import read_csv
from fervid.schema.emotions import shared_name
from fervid.schema.manifest import SPELLINGS
from fervid.schema.names import clean_name, look_alikes, spelled_as


class LabelledFolder(Corpus):
    """Files under ``<root>/<emotion>/``, or under ``<root>/train|val|test/<emotion>/``, or listed in a CSV.

    Args:
        root: the folder; the paths of the CSV are relative to it.
        subject_pattern: regular expression found in the file name without suffix; its first group (or the whole
            match, if it has none) is the subject. None: subjects are unknown.
        csv: file with the columns ``path``, ``emotion`` and, if known, ``subject``, ``clip`` and ``split``, which
            ``split=predefined`` follows; None: the sub-folders name the emotions.

    Raises:
        InputError: if the folder, a class or the CSV is missing or empty, two classes seem to be one, or a file name
            does not fit the pattern.
    """

    published = False
    suffixes: Collection[str]
    kind: str  # what the files are, in sentences

    def __init__(
        self,
        root: str | Path | None,
        *,
        subject_pattern: str | None = None,
        csv: str | Path | None = None,
    ):
        super().__init__(root)
        self.csv = Path(csv).expanduser() if csv else None
        try:
            self.subject_pattern = re.compile(subject_pattern) if subject_pattern else None
        except re.error as error:
            raise InputError(
                f"dataset.subject_pattern={subject_pattern} is not a regular expression: {error}."
            ) from error

    def choices(self) -> dict[str, Any]:
        pattern = self.subject_pattern.pattern if self.subject_pattern else None
        return {"subject_pattern": pattern, "csv": str(self.csv) if self.csv else None}

    def read(self) -> Inventory:
        """Lists the files."""
        inventory = self._from_csv(self.csv) if self.csv else self._from_folders()
        clips = inventory.clips
        _check_emotions(clips["emotion"])
        joined = _clashes(clips["emotion"], shared_name)
        inventory.notes += [f"{' and '.join(names)} are kept apart, though they name one emotion." for names in joined]
        if "subject" in clips:
            self.subjects_from = "the column subject of dataset.csv"
        else:
            self.subjects_from = "file names (dataset.subject_pattern)" if self.subject_pattern else None
            clips["subject"] = [self._subject(file) for file in inventory.files]
        if "clip" in clips:
            clips["clip"] = clips["clip"].fillna(clips["path"])
            alike = [" and ".join(names) for names in look_alikes(clips["clip"])]
            inventory.notes += note("names of clips that differ only in blanks, case or leading zeros", alike)
        else:
            clips["clip"] = [file.path for file in inventory.files]
        return inventory

    def _from_folders(self) -> Inventory:
        listing = list_files(self.root, self.suffixes)
        folders = [_folders(file) for file in listing.files]
        first = {path[0] for path in folders if path}
        sides = {name for name in first if _side(name)}
        if sides and sides != first:
            raise InputError(
                f"{self.root} holds sides of a split ({', '.join(sorted(sides))}) beside other folders "
                f"({', '.join(sorted(first - sides)[:3])}): put the emotions under the sides, the others away."
            )
        rows, files = [], []
        for path, file in zip(folders, listing.files, strict=True):
            if len(path) > bool(sides):
                row = {"emotion": path[bool(sides)]}
                rows.append(row | {"predefined_split": _side(path[0])} if sides else row)
                files.append(file)
        if not rows:
            raise InputError(
                f"{self.root} has no sub-folder with files in it that are {self.kind}: put them in "
                "one sub-folder an emotion. "
                f"{' '.join(listing.notes)}".strip()
            )
        listing.leave_out(
            "in no sub-folder of an emotion",
            [file.path for path, file in zip(folders, listing.files, strict=True) if len(path) <= bool(sides)],
        )
        # A folder that was meant to be a class must not vanish silently.
        parents = [self.root / side for side in sides] if sides else [self.root]
        for folder in (folder for parent in parents if parent.is_dir() for folder in sorted(parent.iterdir())):
            known = folder.name in {row["emotion"] for row in rows} or folder.name.startswith((".", "__MACOSX"))
            if folder.is_dir() and not known:
                raise InputError(
                    f"the class {folder.name!r} is empty: {folder} holds no {self.kind}; add some or remove it. "
                    f"{' '.join(listing.notes)}".strip()
                )
        return Inventory(pd.DataFrame(rows), files, notes=listing.notes, left_out=listing.left_out)

    def _from_csv(self, csv: Path) -> Inventory:
        if not self.root.is_dir():
            raise InputError(f"dataset.root={self.root} is not a folder: give the one the paths of {csv} start from.")
        try:
            clips = read_csv(csv)
        except (OSError, ValueError) as error:
            raise InputError(f"dataset.csv={csv} cannot be read: {first_line(error)}.") from error
        if clips.empty:
            raise InputError(f"dataset.csv={csv} lists no file: give one row each, with path and emotion.")
        reserved = sorted(RESERVED & set(clips.columns))
        if reserved:
            raise InputError(
                f"dataset.csv={csv} has the column(s) {', '.join(reserved)}, which fervid writes: rename them."
            )
        check_spelling(clips, LISTED, f"dataset.csv={csv}")
        missing = [column for column in ("path", "emotion") if column not in clips]
        if missing:
            raise InputError(
                f"dataset.csv={csv} lacks the column(s) {', '.join(missing)}: it has {', '.join(clips.columns)}."
            )
        if clips[["path", "emotion"]].isna().any(axis=None):
            row = int(clips[["path", "emotion"]].isna().any(axis=1).to_numpy().argmax())
            raise InputError(
                f"dataset.csv={csv} has no path or emotion in row {row + 2}: fill it in or remove the row."
            )
        clips["path"] = [spelled_as(path, lambda path: (self.root / path).is_file()) for path in clips["path"]]
        listed = clips["path"].map(lambda path: (self.root / path).resolve())
        twice = clips["path"][listed.duplicated()]
        if len(twice):
            raise InputError(
                f"dataset.csv={csv} lists {len(twice)} file(s) twice (first: {twice.iloc[0]}): each has one row."
            )
        clips = clips.rename(columns={"split": "predefined_split"})
        there = np.array([(self.root / path).is_file() for path in clips["path"]])
        if not there.any():
            raise InputError(
                f"none of the {len(clips)} files that dataset.csv={csv} lists is in dataset.root={self.root}: "
                "its paths start from there."
            )
        return Inventory(
            clips[there].reset_index(drop=True),
            [File(path, self.root / path, stamp(self.root / path)) for path in clips["path"][there]],
            dropped=pd.DataFrame({"path": clips["path"][~there], "reason": "no such file"}),
        )

    def _subject(self, file: File) -> str | None:
        if self.subject_pattern is None:
            return None
        match = self.subject_pattern.search(file.stem)
        subject = clean_name(match[1 if self.subject_pattern.groups else 0] or "") if match else ""
        if not subject:
            raise InputError(
                f"dataset.subject_pattern={self.subject_pattern.pattern} does not fit {file.path}: every file name "
                "must say who is seen."
            )
        return subject


def _folders(file: File) -> list[str]:
    """The folders a file lies in; those of a zip begin inside it."""
    return [part for part in file.parts[:-1] if not part.lower().endswith(".zip")]


def _side(folder: str) -> str | None:
    """The side of a split that a folder is named after."""
    return SPELLINGS.get(clean_name(folder).lower())


def _check_emotions(emotions: pd.Series) -> None:
    clashes = _clashes(emotions, lambda name: clean_name(name).lower())
    if clashes:
        names = " and ".join(map(repr, clashes[0]))
        raise InputError(f"the classes {names} differ in capitals or blanks alone: give them one name.")
    if emotions.nunique() < 2:
        raise InputError(
            f"there is one class only, {emotions.iloc[0]!r}: dataset.root must hold one sub-folder an emotion, itself "
            "or, without a folder around them, in a zip; a CSV must name two emotions."
        )


def _clashes(emotions: pd.Series, of: Callable[[str], str]) -> list[list[str]]:
    """Names that are the same to a function."""
    names = pd.Series(sorted(emotions.unique()))
    return [group.tolist() for _, group in names.groupby(names.map(of)) if len(group) > 1]


class ImageFolder(LabelledFolder):
    """One's own pictures (arguments: :class:`LabelledFolder`)."""

    name = "image_folder"
    pictures = True
    suffixes = PICTURE_SUFFIXES
    kind = "pictures"


class VideoFolder(LabelledFolder):
    """One's own videos (arguments: :class:`LabelledFolder`)."""

    name = "video_folder"
    suffixes = VIDEO_SUFFIXES
    kind = "videos"
