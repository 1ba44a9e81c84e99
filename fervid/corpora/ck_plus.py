"""CK+: sequences from a neutral face to the peak of one of seven posed expressions."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory, note
from fervid.corpora.picture_corpus import PictureCorpus
from fervid.corpora.pixel_tables import check_usages, read_pixel_rows
from fervid.errors import InputError, first_line
from fervid.media.files import File, Listing, list_files
from fervid.media.formats import PICTURE_SUFFIXES
from fervid.media.sources import read_bytes
from fervid.schema.emotions import shared_name

CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")  # from 0
SEQUENCES = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sadness": 28, "surprise": 83}
LABELLED_SUBJECTS = 118
TABLE = "ckextended.csv"
TABLE_CODES = ("anger", "disgust", "fear", "happy", "sadness", "surprise", "neutral", "contempt")  # from 0
NEUTRAL_ROWS = 593  # in the table: one for each sequence, labelled or not
NAME = re.compile(r"(S\d{3})_(\d{3})_(\d{8})")  # subject, sequence, frame
LABEL = re.compile(r"(S\d{3}_\d{3})_(\d{8})_emotion")


class CKPlus(PictureCorpus):
    """The Extended Cohn-Kanade dataset (Lucey, Cohn, Kanade, Saragih, Ambadar & Matthews 2010).

    Every sequence starts with a neutral face and ends with the peak of the expression. The label of a sequence applies
    to its last frames; its first ones can be used as neutral. Of 593 sequences, 327 are labelled. One row of the
    manifest is one frame, and ``recording`` is its sequence.

    Copies with pictures of 48 px are read, too: the folders ``<emotion>/S010_004_00000017.png``, and
    ``ckextended.csv``, in which subjects are unknown.

    Args:
        root: Path to the folder with ``cohn-kanade-images`` and ``Emotion``, or with zips of them, or with a copy.
        emotions: emotions to use; None: all.
        peak_frames: number of frames at the end of a sequence to use.
        neutral_frames: number of frames at the start of a labelled sequence to use as neutral; 0: no neutral class.

    Raises:
        InputError: if an option is invalid, or there are neither labels nor a copy.
    """

    name = "ck_plus"
    licence = "for non-commercial research, on request"
    citation = (
        "P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar, I. Matthews: The Extended Cohn-Kanade Dataset (CK+). "
        "CVPR Workshops, 2010. https://doi.org/10.1109/CVPRW.2010.5543262"
    )
    expressions = "are posed in a laboratory at full intensity, and look different elsewhere."

    def __init__(
        self,
        root: str | Path | None,
        *,
        emotions: Sequence[str] | None = None,
        peak_frames: int = 3,
        neutral_frames: int = 0,
    ):
        for option, value, least in (("peak_frames", peak_frames, 1), ("neutral_frames", neutral_frames, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"dataset.{option}={value} is not a number of frames: give {least} or more.")
        counts = {emotion: peak_frames * count for emotion, count in SEQUENCES.items()}
        if neutral_frames:
            counts["neutral"] = neutral_frames * sum(SEQUENCES.values())
        super().__init__(root, counts, emotions)
        self.peak_frames, self.neutral_frames = peak_frames, neutral_frames

    def choices(self) -> dict[str, Any]:
        return {**super().choices(), "peak_frames": self.peak_frames, "neutral_frames": self.neutral_frames}

    def read(self) -> Inventory:
        """Reads the labels and selects frames of each sequence."""
        listing = list_files(self.root, PICTURE_SUFFIXES | {".txt", ".csv"})
        labels = [file for file in listing.files if file.suffix == ".txt" and LABEL.fullmatch(file.stem)]
        tables = [file for file in listing.files if file.parts[-1].lower() == TABLE]
        pictures = [file for file in listing.files if file.suffix not in (".txt", ".csv")]
        if labels:
            return self._from_sequences(listing, pictures, labels)
        if pictures:
            return self._from_folders(listing, pictures)
        if tables:
            return self._from_pixels(listing, tables[0])
        raise InputError(
            f"dataset.root={self.root} has neither labels such as Emotion/S005/001/S005_001_00000011_emotion.txt, nor "
            f"pictures in folders of emotions, nor {TABLE}: give a folder with one of them."
        )

    def _from_sequences(self, listing: Listing, pictures: list[File], labels: list[File]) -> Inventory:
        frames = describe_files(listing, pictures, _in_sequence, "not in a folder such as S005/001")
        by_sequence = {str(name): part for name, part in frames.groupby("recording")} if len(frames) else {}
        parts, absent, dropped = [], [], []
        seen: set[str] = set()
        for file in labels:
            name = LABEL.fullmatch(file.stem)
            assert name is not None  # they were selected by it
            if name[1] in seen:
                continue
            seen.add(name[1])
            frame = by_sequence.get(name[1])
            try:
                emotion = _read_label(file)
            except ValueError as error:
                dropped.append((file.path, str(error)))
                continue
            if frame is None:
                absent.append(name[1])
            elif frame["clip"].iloc[-1] != f"{name[1]}_{name[2]}":
                dropped.append((file.path, "the last frame of the sequence is missing"))
            else:
                parts.append(self._select(frame.assign(emotion=emotion)))
        unlabelled = sorted(by_sequence.keys() - seen)
        notes = note("sequences without a label, which are not used", unlabelled)
        notes += note("labelled sequences without pictures", absent)
        rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        return self._take_stock(listing, rows, notes, dropped)

    def _from_folders(self, listing: Listing, pictures: list[File]) -> Inventory:
        frames = describe_files(listing, pictures, _in_emotion, "not like anger/S010_004_00000017.png")
        rows = frames.groupby("recording").tail(self.peak_frames) if len(frames) else frames
        return self._take_stock(listing, rows, [], [])

    def _from_pixels(self, listing: Listing, table: File) -> Inventory:
        rows = read_pixel_rows(table)
        emotion = rows["emotion"].map({str(code): name for code, name in enumerate(TABLE_CODES)})
        bad = rows[emotion.isna()]
        dropped = [
            (file.path, f"emotion code {code} is unknown")
            for file, code in zip(bad["file"], bad["emotion"].fillna("''"), strict=True)
        ]
        subsets = check_usages(table, rows["Usage"])
        rows = pd.DataFrame(
            {"clip": [f"row {row}" for row in rows.index], "subject": None, "emotion": emotion, "file": rows["file"]}
        ).assign(predefined_split=subsets)
        return self.take_stock(
            listing,
            rows[emotion.notna()],
            counts={name: SEQUENCES.get(name, NEUTRAL_ROWS) for name in self.counts},
            dropped=pd.DataFrame(dropped, columns=["path", "reason"]),
        )

    def _select(self, frames: pd.DataFrame) -> pd.DataFrame:
        """Returns the selected frames of one sequence, of which all have the label of the sequence."""
        peak = frames.iloc[-self.peak_frames :]
        first = frames.iloc[: max(0, min(self.neutral_frames, len(frames) - self.peak_frames))]
        return pd.concat([first.assign(emotion="neutral"), peak])

    def _take_stock(
        self, listing: Listing, rows: pd.DataFrame, notes: list[str], dropped: list[tuple[str, str]]
    ) -> Inventory:
        subjects = rows["subject"].nunique() if len(rows) else 0
        if subjects < LABELLED_SUBJECTS:
            notes = [*notes, f"subjects with labels: {subjects} of {LABELLED_SUBJECTS}."]
        return self.take_stock(listing, rows, notes=notes, dropped=pd.DataFrame(dropped, columns=["path", "reason"]))


def _describe(file: File) -> Mapping[str, Any] | None:
    name = NAME.fullmatch(file.stem)
    return {"clip": name[0], "subject": name[1], "recording": f"{name[1]}_{name[2]}"} if name else None


def _in_sequence(file: File) -> dict[str, Any] | None:
    """Describes a frame in the folder of its sequence, such as ``S005/001``; None for other files."""
    row = _describe(file)
    return dict(row) if row and "_".join(file.parts[-3:-1]) == row["recording"] else None


def _in_emotion(file: File) -> dict[str, Any] | None:
    """Describes a frame in the folder of its emotion; None for other files."""
    known = {shared_name(name): name for name in SEQUENCES}
    row, emotion = _describe(file), known.get(shared_name(file.parts[-2])) if len(file.parts) > 1 else None
    return {**row, "emotion": emotion} if row and emotion else None


def _read_label(file: File) -> str:
    """Returns the emotion of a sequence, whose code is written as a floating-point number.

    Raises:
        ValueError: if there is no known code.
    """
    try:
        text = read_bytes(file.source).decode(errors="replace").strip()
    except OSError as error:
        raise ValueError(f"cannot be read ({first_line(error)})") from error
    try:
        code = float(text)
    except ValueError:
        code = -1
    if code not in range(len(CODES)):
        raise ValueError(f"emotion code {text[:20]!r} is unknown")
    return CODES[int(code)]
