"""Any folder of pictures or videos, one sub-folder an emotion, or a CSV that says what is what."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.data.decoding import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.data.files import File, list_files
from fervid.data.inventory import Inventory
from fervid.data.prepared import PreparedDataModule
from fervid.data.splits import SPELLINGS
from fervid.errors import InputError

RESERVED = {"corpus", "frame", "index", "predicted", "store_row", "time", "true"}
RESERVED |= {"aligned", "box_height", "box_left", "box_top", "box_width", "face", "faces"}
RESERVED |= {"left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y"}


class LabelledFolderDataModule(PreparedDataModule):
    """Files under ``<root>/<emotion>/``, or under ``<root>/train|val|test/<emotion>/``, or listed in a CSV.

    Args:
        root: the folder; the paths of the CSV are relative to it.
        subject_pattern: regular expression found in the file name without suffix; its first group (or the whole
            match, if it has none) is the subject. None: subjects are unknown.
        csv: file with the columns ``path``, ``emotion`` and, if known, ``subject``, ``clip`` and ``split``, which
            ``split=given`` follows; None: the sub-folders name the emotions.
        **options: those of :class:`PreparedDataModule`.

    Raises:
        InputError: if the folder, a class or the CSV is missing or empty, or the pattern fits no or only some files.
    """

    suffixes: Collection[str]

    def __init__(
        self,
        root: str | Path | None,
        *,
        subject_pattern: str | None = None,
        csv: str | Path | None = None,
        **options: Any,
    ):
        super().__init__(root, **options)
        self.csv = Path(csv).expanduser() if csv else None
        try:
            self.subject_pattern = re.compile(subject_pattern) if subject_pattern else None
        except re.error as error:
            raise InputError(
                f"dataset.subject_pattern={subject_pattern} is not a regular expression: {error}."
            ) from error

    def read_clips(self) -> Inventory:
        """Lists the files."""
        inventory = self._from_csv(self.csv) if self.csv else self._from_folders()
        clips = inventory.clips
        if "subject" not in clips:
            clips["subject"] = [self._subject(file) for file in inventory.files]
        if "clip" not in clips:
            clips["clip"] = [file.path for file in inventory.files]
        return inventory

    def _from_folders(self) -> Inventory:
        listing = list_files(self.root, self.suffixes)
        # Of a file in a zip the zip's own name says nothing.
        folders = [[part for part in file.parts[:-1] if not part.lower().endswith(".zip")] for file in listing.files]
        split_already = any(folders) and all(path and path[0].lower() in SPELLINGS for path in folders)
        rows, files = [], []
        for path, file in zip(folders, listing.files, strict=True):
            if len(path) > split_already:
                row = {"emotion": path[split_already]}
                rows.append(row | {"given_split": SPELLINGS[path[0].lower()]} if split_already else row)
                files.append(file)
        if not rows:
            raise InputError(
                f"{self.root} has no sub-folder with files in it ({', '.join(sorted(self.suffixes))}): put them in "
                "one sub-folder an emotion."
            )
        # A folder that was meant to be a class must not vanish silently.
        parents = [self.root / side for side in {path[0] for path in folders}] if split_already else [self.root]
        for folder in (folder for parent in parents if parent.is_dir() for folder in sorted(parent.iterdir())):
            known = folder.name in {row["emotion"] for row in rows} or folder.name.startswith((".", "__MACOSX"))
            if folder.is_dir() and not known:
                raise InputError(
                    f"the class {folder.name!r} is empty: {folder} holds none of {', '.join(sorted(self.suffixes))}; "
                    "add some or remove the folder."
                )
        return Inventory(pd.DataFrame(rows), files, notes=listing.notes)

    def _from_csv(self, csv: Path) -> Inventory:
        if not self.root.is_dir():
            raise InputError(f"dataset.root={self.root} is not a folder: give the one the paths of {csv} start from.")
        try:
            clips = pd.read_csv(csv, dtype=str)
        except (OSError, ValueError) as error:
            raise InputError(f"dataset.csv={csv} cannot be read: {error}.") from error
        reserved = sorted(RESERVED & set(clips.columns))
        if reserved:
            raise InputError(
                f"dataset.csv={csv} has the column(s) {', '.join(reserved)}, which fervid writes: rename them."
            )
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
        if "split" in clips:
            sides = clips.pop("split")
            unknown = sorted(set(sides.dropna().str.lower()) - set(SPELLINGS))
            if unknown:
                raise InputError(f"dataset.csv={csv} names the side {unknown[0]!r}: give train, val or test.")
            clips["given_split"] = sides.str.lower().map(SPELLINGS)
        files = []
        for path in clips["path"]:
            file = self.root / path
            stat = file.stat() if file.is_file() else None  # a missing one is a failure among others
            files.append(File(path, file, f"{stat.st_size} {stat.st_mtime_ns}" if stat else "missing"))
        return Inventory(clips, files)

    def _subject(self, file: File) -> str | None:
        if self.subject_pattern is None:
            return None
        match = self.subject_pattern.search(file.stem)
        if match is None:
            raise InputError(
                f"dataset.subject_pattern={self.subject_pattern.pattern} does not fit {file.path}: every file name "
                "must say who is seen."
            )
        return match.group(1) if self.subject_pattern.groups else match.group(0)


class ImageFolderDataModule(LabelledFolderDataModule):
    """One's own pictures (arguments: :class:`LabelledFolderDataModule`)."""

    corpus = "image_folder"
    pictures = True
    suffixes = PICTURE_SUFFIXES


class VideoFolderDataModule(LabelledFolderDataModule):
    """One's own videos (arguments: :class:`LabelledFolderDataModule`)."""

    corpus = "video_folder"
    suffixes = VIDEO_SUFFIXES
