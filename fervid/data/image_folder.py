"""Any folder of pictures, one sub-folder an emotion."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from fervid.data.datamodule import FrameDataModule
from fervid.errors import InputError, first_line

RESERVED = {"corpus", "frame", "index", "predicted", "split", "store_row", "time", "true"}
SPLIT_ALREADY = {"test", "train", "training", "val", "valid", "validation"}
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class ImageFolderDataModule(FrameDataModule):
    """Pictures under ``<root>/<emotion>/``, or listed in a CSV.

    Args:
        root: the folder; the paths of the CSV are relative to it.
        subject_pattern: regular expression found in the file name without suffix; its first group (or the whole
            match, if it has none) is the subject. None: subjects are unknown.
        csv: file with the columns ``path``, ``emotion`` and, if known, ``subject`` and ``clip``; None: the
            sub-folders name the emotions.
        **options: those of :class:`FrameDataModule`.

    Raises:
        InputError: if the folder, a class or the CSV is missing or empty, or the pattern fits no or only some files.
    """

    corpus = "image_folder"

    def __init__(
        self, root: str | Path, *, subject_pattern: str | None = None, csv: str | Path | None = None, **options: Any
    ):
        super().__init__(**options)
        if root is None:
            raise InputError("dataset=image_folder needs dataset.root=<folder>: one sub-folder an emotion.")
        self.root = Path(root).expanduser()
        self.csv = Path(csv).expanduser() if csv else None
        try:
            self.subject_pattern = re.compile(subject_pattern) if subject_pattern else None
        except re.error as error:
            raise InputError(
                f"dataset.subject_pattern={subject_pattern} is not a regular expression: {error}."
            ) from error

    def read_corpus(self) -> pd.DataFrame:
        """Lists the pictures."""
        if not self.root.is_dir():
            raise InputError(
                f"dataset.root={self.root} is not a folder: give the one that holds a sub-folder an emotion."
            )
        frames = self._from_csv(self.csv) if self.csv else self._from_folders()
        if "subject" not in frames:
            frames["subject"] = [self._subject(path) for path in frames["path"]]
        if "clip" not in frames:
            frames["clip"] = frames["path"]
        return frames.assign(corpus=self.corpus, frame=0, time=0.0)

    def open_pictures(self, frames: pd.DataFrame) -> Callable[[int], np.ndarray]:
        """Reads picture files upright (EXIF), in RGB, 16-bit greys brought down to 8."""
        paths = [self.root / path for path in frames["path"]]

        def read(row: int) -> np.ndarray:
            try:
                with Image.open(paths[row]) as file:
                    picture = ImageOps.exif_transpose(file)
                    if picture.mode.startswith("I"):
                        grey = (np.asarray(picture, dtype=np.float32) / 257).clip(0, 255).astype(np.uint8)
                        return np.stack([grey] * 3, axis=-1)
                    return np.asarray(picture.convert("RGB"))
            except Exception as error:  # Pillow has a kind of its own for every format, and for bombs
                raise OSError(first_line(error)) from error

        return read

    def fingerprint(self) -> str:
        """The folder, and size and date of each file: a changed picture is read anew."""
        files = [self.root / path for path in self.frames["path"]]
        stats = [file.stat() if file.is_file() else None for file in files]
        return str(self.root.resolve()) + str([stat and (stat.st_size, stat.st_mtime_ns) for stat in stats])

    def _from_folders(self) -> pd.DataFrame:
        rows = []
        folders = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if folders and {folder.name.lower() for folder in folders} <= SPLIT_ALREADY:
            raise InputError(
                f"{self.root} holds {', '.join(folder.name for folder in folders)}, which are sides of a split and no "
                f"emotions: give one of them as dataset.root, such as {folders[0]}."
            )
        for folder in folders:
            pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not pictures:
                raise InputError(
                    f"the class {folder.name!r} is empty: {folder} holds no picture ({', '.join(sorted(SUFFIXES))}); "
                    "add some or remove the folder."
                )
            rows += [(folder.name, path) for path in pictures]
        if not rows:
            raise InputError(f"{self.root} has no sub-folder: put the pictures in one sub-folder an emotion.")
        return pd.DataFrame(
            {
                "emotion": [emotion for emotion, _ in rows],
                "path": [path.relative_to(self.root).as_posix() for _, path in rows],
            }
        )

    def _from_csv(self, csv: Path) -> pd.DataFrame:
        try:
            frames = pd.read_csv(csv, dtype=str)
        except (OSError, ValueError) as error:
            raise InputError(f"dataset.csv={csv} cannot be read: {error}.") from error
        reserved = sorted(RESERVED & set(frames.columns))
        if reserved:
            raise InputError(
                f"dataset.csv={csv} has the column(s) {', '.join(reserved)}, which fervid writes: rename them."
            )
        missing = [column for column in ("path", "emotion") if column not in frames]
        if missing:
            raise InputError(
                f"dataset.csv={csv} lacks the column(s) {', '.join(missing)}: it has {', '.join(frames.columns)}."
            )
        if frames[["path", "emotion"]].isna().any(axis=None):
            row = int(frames[["path", "emotion"]].isna().any(axis=1).to_numpy().argmax())
            raise InputError(
                f"dataset.csv={csv} has no path or emotion in row {row + 2}: fill it in or remove the row."
            )
        return frames

    def _subject(self, path: str) -> str | None:
        if self.subject_pattern is None:
            return None
        name = Path(path).stem
        match = self.subject_pattern.search(name)
        if match is None:
            raise InputError(
                f"dataset.subject_pattern={self.subject_pattern.pattern} does not fit {path}: every file name must "
                "say who is seen."
            )
        return match.group(1) if self.subject_pattern.groups else match.group(0)
