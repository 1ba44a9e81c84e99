"""Your own pictures or videos: one sub-folder per emotion, or a CSV with labels."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, note
from fervid.errors import InputError, first_line
from fervid.media.files import File, list_files, stamp
from fervid.media.formats import PICTURE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from fervid.schema.columns import LISTED, RESERVED, check_spelling
from fervid.schema.csv_tables import read_csv
from fervid.schema.emotions import shared_name
from fervid.schema.manifest import SPELLINGS
from fervid.schema.names import clean_name, look_alikes, spelled_as


class LabelledFolder(Corpus):
    """Files in ``<root>/<emotion>/``, in ``<root>/train|val|test/<emotion>/``, or listed in a CSV.

    Args:
        root: Path to the folder. Paths in the CSV are relative to it.
        subject_pattern: regular expression searched in the file name without suffix. Its first group, or the whole
            match if it has no group, is the subject. None: subjects are unknown.
        csv: Path to a CSV with the columns ``path``, ``emotion`` and optionally ``subject``, ``clip`` and ``split``
            (used by ``split=predefined``). None: the sub-folders name the emotions.

    Raises:
        InputError: if the folder, a class or the CSV is missing or empty, the names of two classes differ only in case
            or spaces, or a file name does not match the pattern.
    """

    published = False
    suffixes: Collection[str]
    kind: str  # of files, for messages

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
        """Lists the files with their labels."""
        inventory = self._from_csv(self.csv) if self.csv else self._from_folders()
        clips = inventory.clips
        _check_emotions(clips["emotion"])
        synonyms = _clashes(clips["emotion"], shared_name)
        inventory.notes += [
            f"{' and '.join(names)} are separate classes, although they name the same emotion." for names in synonyms
        ]
        if "subject" in clips:
            self.subjects_from = "the column subject of dataset.csv"
        else:
            self.subjects_from = "file names (dataset.subject_pattern)" if self.subject_pattern else None
            clips["subject"] = [self._subject(file) for file in inventory.files]
        if "clip" in clips:
            clips["clip"] = clips["clip"].fillna(clips["path"])
            alike = [" and ".join(names) for names in look_alikes(clips["clip"])]
            inventory.notes += note("names of clips that differ only in spaces, case or leading zeros", alike)
        else:
            clips["clip"] = [file.path for file in inventory.files]
        return inventory

    def _from_folders(self) -> Inventory:
        listing = list_files(self.root, self.suffixes)
        if self.with_sound:
            sounds = {_without_suffix(file) for file in listing.files if file.suffix in SOUND_SUFFIXES}
            is_copy = [file.suffix not in SOUND_SUFFIXES and _without_suffix(file) in sounds for file in listing.files]
            copies = [file.path for file, copy in zip(listing.files, is_copy, strict=True) if copy]
            listing.leave_out("videos with a sound file of the same name", copies)
            listing.files = [file for file, copy in zip(listing.files, is_copy, strict=True) if not copy]
        folders = [_folders(file) for file in listing.files]
        first = {path[0] for path in folders if path}
        subsets = {name for name in first if _subset(name)}
        if subsets and subsets != first:
            raise InputError(
                f"{self.root} has folders of subsets ({', '.join(sorted(subsets))}) next to other folders "
                f"({', '.join(sorted(first - subsets)[:3])}): put the emotions into the subset folders, and move the "
                "others elsewhere."
            )
        rows, files = [], []
        for path, file in zip(folders, listing.files, strict=True):
            if len(path) > bool(subsets):
                row = {"emotion": path[bool(subsets)]}
                rows.append(row | {"predefined_split": _subset(path[0])} if subsets else row)
                files.append(file)
        if not rows:
            raise InputError(
                f"{self.root} has no sub-folder with {self.kind}: put them into one sub-folder per emotion. "
                f"{' '.join(listing.notes)}".strip()
            )
        listing.leave_out(
            "not in the sub-folder of an emotion",
            [file.path for path, file in zip(folders, listing.files, strict=True) if len(path) <= bool(subsets)],
        )
        # An empty folder was probably meant to be a class, so it must not be ignored silently.
        parents = [self.root / subset for subset in subsets] if subsets else [self.root]
        for folder in (folder for parent in parents if parent.is_dir() for folder in sorted(parent.iterdir())):
            known = folder.name in {row["emotion"] for row in rows} or folder.name.startswith((".", "__MACOSX"))
            if folder.is_dir() and not known:
                raise InputError(
                    f"the class {folder.name!r} is empty: {folder} has no {self.kind}; add some or remove it. "
                    f"{' '.join(listing.notes)}".strip()
                )
        return Inventory(pd.DataFrame(rows), files, notes=listing.notes, left_out=listing.left_out)

    def _from_csv(self, csv: Path) -> Inventory:
        if not self.root.is_dir():
            raise InputError(
                f"dataset.root={self.root} is not a folder: give the folder that the paths of {csv} are relative to."
            )
        try:
            clips = read_csv(csv)
        except (OSError, ValueError) as error:
            raise InputError(f"dataset.csv={csv} cannot be read: {first_line(error)}.") from error
        if clips.empty:
            raise InputError(f"dataset.csv={csv} lists no files: add one row per file, with path and emotion.")
        reserved = sorted(RESERVED & set(clips.columns))
        if reserved:
            raise InputError(f"dataset.csv={csv} has the reserved column(s) {', '.join(reserved)}: rename them.")
        check_spelling(clips, LISTED, f"dataset.csv={csv}")
        missing = [column for column in ("path", "emotion") if column not in clips]
        if missing:
            raise InputError(
                f"dataset.csv={csv} lacks the column(s) {', '.join(missing)}: add them; it has "
                f"{', '.join(clips.columns)}."
            )
        if clips[["path", "emotion"]].isna().any(axis=None):
            row = int(clips[["path", "emotion"]].isna().any(axis=1).to_numpy().argmax())
            raise InputError(f"dataset.csv={csv} has no path or emotion in row {row + 2}: add it, or remove the row.")
        clips["path"] = [spelled_as(path, lambda path: (self.root / path).is_file()) for path in clips["path"]]
        listed = clips["path"].map(lambda path: (self.root / path).resolve())
        duplicates = clips["path"][listed.duplicated()]
        if len(duplicates):
            raise InputError(
                f"dataset.csv={csv} lists {len(duplicates)} file(s) twice (first: {duplicates.iloc[0]}): keep one row "
                "per file."
            )
        clips = clips.rename(columns={"split": "predefined_split"})
        exists = np.array([(self.root / path).is_file() for path in clips["path"]])
        if not exists.any():
            raise InputError(
                f"none of the {len(clips)} files that dataset.csv={csv} lists is in dataset.root={self.root}: write "
                "its paths relative to that folder."
            )
        return Inventory(
            clips[exists].reset_index(drop=True),
            [File(path, self.root / path, stamp(self.root / path)) for path in clips["path"][exists]],
            dropped=pd.DataFrame({"path": clips["path"][~exists], "reason": "no such file"}),
        )

    def _subject(self, file: File) -> str | None:
        if self.subject_pattern is None:
            return None
        match = self.subject_pattern.search(file.stem)
        subject = clean_name(match[1 if self.subject_pattern.groups else 0] or "") if match else ""
        if not subject:
            raise InputError(
                f"dataset.subject_pattern={self.subject_pattern.pattern} does not match {file.path}: give a pattern "
                "that finds the subject in every file name."
            )
        return subject


def _without_suffix(file: File) -> tuple[str, ...]:
    return (*file.parts[:-1], file.stem)


def _folders(file: File) -> list[str]:
    """Returns the folders of a file; for a member of a zip, those inside the zip."""
    return [part for part in file.parts[:-1] if not part.lower().endswith(".zip")]


def _subset(folder: str) -> str | None:
    """Returns the subset that a folder is named after; None if it is not."""
    return SPELLINGS.get(clean_name(folder).lower())


def _check_emotions(emotions: pd.Series) -> None:
    clashes = _clashes(emotions, lambda name: clean_name(name).lower())
    if clashes:
        names = " and ".join(map(repr, clashes[0]))
        raise InputError(f"the classes {names} differ only in case or spaces: give them one name.")
    if emotions.nunique() < 2:
        raise InputError(
            f"there is only one class, {emotions.iloc[0]!r}: dataset.root, or a zip in it, needs one sub-folder per "
            "emotion at its top level; a CSV needs at least two emotions."
        )


def _clashes(emotions: pd.Series, of: Callable[[str], str]) -> list[list[str]]:
    """Returns groups of names that ``of`` maps to the same value."""
    names = pd.Series(sorted(emotions.unique()))
    return [group.tolist() for _, group in names.groupby(names.map(of)) if len(group) > 1]


class ImageFolder(LabelledFolder):
    """Your own pictures. Takes the arguments of :class:`LabelledFolder`."""

    name = "image_folder"
    pictures = True
    suffixes = PICTURE_SUFFIXES
    kind = "pictures"


class VideoFolder(LabelledFolder):
    """Your own videos, or sound files for ``sample=sound``. Takes the arguments of :class:`LabelledFolder`."""

    name = "video_folder"
    suffixes = VIDEO_SUFFIXES
    kind = "videos"

    def for_sound(self) -> Self:
        corpus = super().for_sound()
        corpus.suffixes, corpus.kind = VIDEO_SUFFIXES | SOUND_SUFFIXES, "videos or sound files"
        return corpus
