"""ISED: 50 subjects recorded while watching films, with four spontaneous emotions."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import loadmat

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, choose_subjects, note
from fervid.errors import InputError, first_line
from fervid.faces.face import EYES_IN_BOX, Face
from fervid.media.files import File, list_files
from fervid.media.formats import VIDEO_SUFFIXES
from fervid.media.sampling import Around
from fervid.media.sources import read_bytes
from fervid.schema.emotions import choose

COUNTS = {"happiness": 227, "surprise": 73, "sadness": 48, "disgust": 80}
EMOTIONS = tuple(COUNTS)  # in the order of their codes, from 1
SUBJECTS = 50
DETAILS = "ISED_details.mat"
COLUMNS = 16  # of the table
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", re.IGNORECASE)

Key = tuple[int, str]  # subject and video


@dataclass
class _Files:
    """The files of the corpus by kind.

    Attributes:
        videos: videos by subject and video.
        details: the table of labels.
        unused: paths of files that are not used, by reason.
    """

    videos: dict[Key, File] = field(default_factory=dict)
    details: File | None = None
    unused: dict[str, list[str]] = field(default_factory=lambda: {"unknown": [], "duplicates": [], "tables": []})


@dataclass
class _Labels:
    """The content of the table.

    Attributes:
        rows: row of each video, without the face.
        faces: face in the peak frame of each video; None unless both eyes are annotated.
        dropped: rows that cannot be used, with the reason.
        conflicting: names of videos whose numbers and path in the table disagree.
    """

    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    faces: dict[Key, Face | None] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    conflicting: list[str] = field(default_factory=list)


class ISED(Corpus):
    """The Indian Spontaneous Expression Database for Emotion Recognition (Happy, Patnaik, Routray & Guha 2017).

    Videos ``PS <subject>/<clip>.avi``, at any depth, are labelled by the table ``ISED_details.mat``.

    Args:
        root: Path to the folder with the videos and the table, or zips of them.
        emotions: emotions to use; None: all four.
        subjects: numbers of the subjects to use; None: all.
        peak: if None, frames are selected by ``frame_stride``, ``frames_per_clip`` and ``window``, and faces are
            detected, as in the LeNet and AlexNet paper. If a number, that many frames before and after the annotated
            peak frame are used together with it, cropped by the annotated eyes.

    Raises:
        InputError: if an option is invalid or selects no clips, or the table cannot be read.
    """

    name = "ised"
    licence = "on request from the authors, for research"
    citation = (
        "S. L. Happy, P. Patnaik, A. Routray, R. Guha: The Indian Spontaneous Expression Database for Emotion "
        "Recognition. IEEE Transactions on Affective Computing 8(1), 2017. https://doi.org/10.1109/TAFFC.2015.2498174"
    )
    expressions = "are spontaneous, evoked by films in a laboratory, and look different elsewhere."

    def __init__(
        self,
        root: str | Path | None,
        *,
        emotions: Sequence[str] | None = None,
        subjects: Sequence[int] | None = None,
        peak: int | None = None,
    ):
        super().__init__(root)
        if peak is not None and peak < 0:
            raise InputError(f"dataset.peak={peak} is out of range: give 0 or more frames around the peak, or null.")
        self.emotions = choose(emotions, EMOTIONS)
        self.subjects = subjects
        self.peak = peak
        self.selected = {"emotions": sorted(self.emotions)} if emotions is not None else {}

    def choices(self) -> dict[str, Any]:
        choices = {"emotions": sorted(self.emotions), "subjects": self.subjects}
        return (
            choices if self.peak is None else {**choices, "peak": self.peak, "detector": f"eyes annotated in {DETAILS}"}
        )

    def read(self) -> Inventory:
        """Reads the table and finds its videos; if a video is there twice, the first one is used."""
        listing = list_files(self.root, {*VIDEO_SUFFIXES, ".mat"})
        files = _sort(listing.files)
        if files.details is None:
            raise InputError(f"{self.root} has no {DETAILS}, which labels the videos: copy it there.")
        labels = _read_labels(files.details, files.videos)
        subjects = {int(row["subject"]) for row in labels.rows.values()}
        chosen = choose_subjects(self.subjects, subjects)
        selected = {
            key: row
            for key, row in labels.rows.items()
            if int(row["subject"]) in chosen and row["emotion"] in self.emotions
        }
        unusable = {
            key: reason
            for key, row in labels.rows.items()
            if key in files.videos and (reason := self._unusable_reason(row, labels.faces[key]))
        }
        used = sorted(key for key in selected if key in files.videos and key not in unusable)
        dropped = labels.dropped + [(files.videos[key].path, reason) for key, reason in unusable.items()]
        labelled = [key for key in labels.rows if key in files.videos]
        if labelled and not used:
            raise InputError(
                f"{self.root} has {len(labelled)} labelled videos, but none that dataset.emotions, subjects and peak "
                f"select{f' (first: {dropped[0][1]})' if dropped else ''}: change these options."
            )
        unlabelled = [file.path for key, file in files.videos.items() if key not in labels.rows]
        listing.leave_out(f"not in {DETAILS}", files.unused["unknown"] + unlabelled)
        listing.leave_out("duplicates", files.unused["duplicates"])
        listing.leave_out("other tables", files.unused["tables"])
        present = {labels.rows[key]["subject"] for key in labelled}
        missing = [row for key, row in selected.items() if key not in files.videos]
        notes = note(f"with numbers in {DETAILS} that disagree with the path; the numbers are used", labels.conflicting)
        if self.subjects is None:
            expected = {emotion: count for emotion, count in COUNTS.items() if emotion in self.emotions}
            named = self.selected
            notes += [f"subjects: {len(present)} of {SUBJECTS}."] if len(present) < SUBJECTS else []
        else:  # only the table has the number of clips per subject
            expected = dict(Counter(row["emotion"] for row in selected.values()))
            named = self.selected | {"subjects": [str(number) for number in sorted(chosen)]}
        types = dict.fromkeys(("intensity", "peak_frame"), "Int64")
        types |= dict.fromkeys(("spectacles", "beard", "occlusion"), "boolean")
        rows = [labels.rows[key] for key in used]
        by_peak = self.peak is not None
        return Inventory(
            pd.DataFrame(rows).astype(types if rows else {}),
            [files.videos[key] for key in used],
            expected=expected,
            selected=named,
            missing=[row["clip"] for row in sorted(missing, key=lambda row: row["subject"] not in present)],
            notes=listing.notes + notes,
            left_out=listing.left_out,
            dropped=pd.DataFrame(dropped, columns=["path", "reason"]),
            windows=[Around(row["peak_frame"], self.peak or 0) for row in rows] if by_peak else None,
            faces=[labels.faces[key] for key in used] if by_peak else None,
        )

    def _unusable_reason(self, row: dict[str, Any], face: Face | None) -> str | None:
        """Returns why a clip cannot be used; None if it can."""
        if row["emotion"] not in EMOTIONS:
            return f"emotion code {row['emotion']!r} is unknown"
        if self.peak is not None and row["peak_frame"] is None:
            return "no peak frame is annotated"
        if self.peak is not None and face is None:
            return "the eyes are not annotated"
        return None


def _sort(listed: Sequence[File]) -> _Files:
    """Sorts files into videos, the table of labels and unused files."""
    files = _Files()
    for file in listed:
        parts = _parts(file.path)
        key = _key(parts)
        if parts[-1].lower().endswith(".mat"):
            if files.details is None and parts[-1].lower() == DETAILS.lower():
                files.details = file
            else:
                files.unused["tables"].append(file.path)
        elif key is None:
            files.unused["unknown"].append(file.path)
        elif key in files.videos:
            files.unused["duplicates"].append(file.path)
        else:
            files.videos[key] = file
    return files


def _read_labels(details: File, videos: Mapping[Key, File]) -> _Labels:
    """Reads the table; a video is identified by its numbers, or by its path if they match no file."""
    labels = _Labels()
    for number, cells in enumerate(_read_table(details), start=1):
        subject, video = _whole(cells[0]), _whole(cells[2])
        path_key = _key(_parts(_text(cells[4])))
        key = path_key if subject is None or video is None else (subject, str(video))
        if key not in videos and path_key in videos:
            key = path_key
        if key is None or key in labels.rows:
            reason = "repeats the video of an earlier row" if key else "names no video"
            labels.dropped.append((f"{details.path} row {number}", reason))
            continue
        labels.rows[key], labels.faces[key] = _describe(cells, key), _face(cells)
        labels.conflicting += [_name(key)] if path_key not in (None, key) else []
    return labels


def _read_table(details: File) -> np.ndarray:
    """Returns the table of 16 columns, under any variable name."""
    advice = f"use {DETAILS} as provided by the authors, or save it again with MATLAB's -v7"
    try:
        variables = loadmat(BytesIO(read_bytes(details.source)))
    except Exception as error:  # a damaged file may raise anything
        raise InputError(f"{details.path} cannot be read ({first_line(error)}): {advice}.") from error
    for value in variables.values():
        while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
            value = value.item()
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == COLUMNS and not value.dtype.names:
            return value
    raise InputError(f"{details.path} has no table of {COLUMNS} columns: {advice}.")


def _parts(path: str) -> list[str]:
    """Splits a path into folders and name, also if it was written on Windows."""
    return re.split(r"[/\\]", path.strip())


def _key(parts: list[str]) -> Key | None:
    """Returns subject and video of ``.../PS <subject>/<video>.avi``."""
    folder = re.fullmatch(r"ps[ _-]*(\d+)", parts[-2], re.IGNORECASE) if len(parts) > 1 else None
    name = parts[-1].rpartition(".")[0].lower()
    return (int(folder[1]), str(int(name)) if name.isdecimal() else name) if folder and name else None


def _name(key: Key) -> str:
    return f"PS {key[0]}/{key[1]}"


def _describe(cells: np.ndarray, key: Key) -> dict[str, Any]:
    """Parses a row of the table, without the face."""
    code, peak = _whole(cells[6]), _whole(cells[3])
    return {
        "clip": _name(key),
        "subject": str(key[0]),
        "emotion": EMOTIONS[code - 1] if code is not None and 1 <= code <= len(EMOTIONS) else _text(cells[6]),
        "intensity": _whole(cells[7]),
        "sex": {"m": "male", "f": "female"}.get(_text(cells[8])[:1].lower()),
        "spectacles": _flag(cells[9]),
        "beard": _flag(cells[10]),
        "occlusion": _flag(cells[11]),
        "peak_frame": peak - 1 if peak is not None and peak > 0 else None,  # MATLAB counts from 1
    }


def _face(cells: np.ndarray) -> Face | None:
    """Returns the face in the peak frame; None unless both eyes are annotated."""
    box, *eyes = (_numbers(cell) for cell in cells[12:15])
    if [len(eye) for eye in eyes] != [2, 2] or math.dist(*eyes) < 1:
        return None
    pair = np.array(sorted(eyes))  # the smaller x first
    if len(box) != 4:
        side = math.dist(*eyes) / (EYES_IN_BOX[1, 0] - EYES_IN_BOX[0, 0])
        box = [*(pair.mean(axis=0) - EYES_IN_BOX.mean(axis=0) * side).tolist(), side, side]
    left, top, width, height = box
    return Face((left, top, width, height), pair)


def _values(cell: Any) -> list[Any]:
    """Returns the numbers and texts of a cell, nested to any depth."""
    if isinstance(cell, np.ndarray):
        return [value for part in cell.ravel().tolist() for value in _values(part)]
    return [cell]


def _numbers(cell: Any) -> list[float]:
    return [float(number) for value in _values(cell) for number in NUMBER.findall(str(value))]


def _whole(cell: Any) -> int | None:
    numbers = _numbers(cell)
    return round(numbers[0]) if numbers else None


def _text(cell: Any) -> str:
    return " ".join(str(value).strip() for value in _values(cell))


def _flag(cell: Any) -> bool | None:
    """Returns whether something is present; None if the cell is empty."""
    text = _text(cell).lower()
    return None if text in ("", "nan") else text not in ("0", "0.0", "no", "n", "none", "false")
