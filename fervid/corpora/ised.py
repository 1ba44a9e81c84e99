"""ISED: 50 people filmed while they watch films, in four emotions that nobody asked them to act."""

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
from fervid.corpora.inventory import Inventory, choose_people, note
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
WIDTH = 16  # columns of the table
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", re.IGNORECASE)

Key = tuple[int, str]  # participant and video


@dataclass
class _Files:
    """The files of the corpus by what they are.

    Attributes:
        videos: by participant and video.
        details: the table of labels.
        others: files that are not used, by reason.
    """

    videos: dict[Key, File] = field(default_factory=dict)
    details: File | None = None
    others: dict[str, list[str]] = field(default_factory=lambda: {"strange": [], "twice": [], "tables": []})


@dataclass
class _Labels:
    """What the table says.

    Attributes:
        rows: of each video, without the face.
        faces: where the face is in its peak frame; None if the table gives no two eyes.
        dropped: rows that cannot be used, with the reason.
        torn: names of videos whose numbers and path differ.
    """

    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    faces: dict[Key, Face | None] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)


class ISED(Corpus):
    """The Indian Spontaneous Expression Database for Emotion Recognition (Happy, Patnaik, Routray & Guha 2017).

    Videos ``PS <participant>/<clip>.avi``, wherever they lie, are labelled by the table ``ISED_details.mat``.

    Args:
        root: the folder that holds videos and table, or zips of them.
        emotions: some of the four; None: all.
        subjects: numbers of some subjects; None: all.
        peak: None takes frames by ``frame_stride``, ``frames_per_clip`` and ``window`` and finds faces by detector, as
            in the LeNet and AlexNet paper. A number takes the annotated peak frame and that many frames before and
            after it, cropped by the annotated eyes.

    Raises:
        InputError: if an option is unknown, nothing of what it asks for is there, or the table cannot be read.
    """

    name = "ised"
    licence = "on request from the authors, for research"
    citation = (
        "S. L. Happy, P. Patnaik, A. Routray, R. Guha: The Indian Spontaneous Expression Database for Emotion "
        "Recognition. IEEE Transactions on Affective Computing 8(1), 2017. https://doi.org/10.1109/TAFFC.2015.2498174"
    )
    expressions = "are spontaneous, called forth by films in a laboratory, and look different outside one."

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
            raise InputError(f"dataset.peak={peak} is no number of frames around the peak: give 0 or more, or null.")
        self.emotions = choose(emotions, EMOTIONS)
        self.subjects = subjects
        self.peak = peak
        self.named = {"emotions": sorted(self.emotions)} if emotions is not None else {}

    def choices(self) -> dict[str, Any]:
        choices = {"emotions": sorted(self.emotions), "subjects": self.subjects}
        return choices if self.peak is None else {**choices, "peak": self.peak, "detector": f"eyes given by {DETAILS}"}

    def read(self) -> Inventory:
        """Reads the table and looks for its videos; of a video that lies there twice the first is taken."""
        listing = list_files(self.root, {*VIDEO_SUFFIXES, ".mat"})
        files = _sort(listing.files)
        if files.details is None:
            raise InputError(f"there is no {DETAILS}, which labels the videos, in {self.root}: copy it there.")
        labels = _read_labels(files.details, files.videos)
        subjects = {int(row["subject"]) for row in labels.rows.values()}
        chosen = choose_people(self.subjects, subjects, "subjects")
        asked = {
            key: row
            for key, row in labels.rows.items()
            if int(row["subject"]) in chosen and row["emotion"] in self.emotions
        }
        unusable = {
            key: reason
            for key, row in labels.rows.items()
            if key in files.videos and (reason := self._why_unusable(row, labels.faces[key]))
        }
        wanted = sorted(key for key in asked if key in files.videos and key not in unusable)
        dropped = labels.dropped + [(files.videos[key].path, reason) for key, reason in unusable.items()]
        labelled = [key for key in labels.rows if key in files.videos]
        if labelled and not wanted:
            raise InputError(
                f"{self.root} holds {len(labelled)} labelled videos, but none that dataset.emotions, subjects and "
                f"peak ask for{f' (first: {dropped[0][1]})' if dropped else ''}."
            )
        strange = files.others["strange"] + [file.path for key, file in files.videos.items() if key not in labels.rows]
        listing.leave_out(f"not in {DETAILS}", strange)
        listing.leave_out("second copies", files.others["twice"])
        listing.leave_out("other tables", files.others["tables"])
        there = {labels.rows[key]["subject"] for key in labelled}
        missing = [row for key, row in asked.items() if key not in files.videos]
        notes = note(f"whose numbers in {DETAILS}, which are believed, name another video than their path", labels.torn)
        if self.subjects is None:
            expected = {emotion: count for emotion, count in COUNTS.items() if emotion in self.emotions}
            named = self.named
            notes += [f"subjects: {len(there)} of {SUBJECTS}."] if len(there) < SUBJECTS else []
        else:  # how many clips each of them should have, the table alone knows
            expected = dict(Counter(row["emotion"] for row in asked.values()))
            named = self.named | {"subjects": [str(number) for number in sorted(chosen)]}
        types = dict.fromkeys(("intensity", "peak_frame"), "Int64")
        types |= dict.fromkeys(("spectacles", "beard", "occlusion"), "boolean")
        rows = [labels.rows[key] for key in wanted]
        by_peak = self.peak is not None
        return Inventory(
            pd.DataFrame(rows).astype(types if rows else {}),
            [files.videos[key] for key in wanted],
            expected=expected,
            named=named,
            missing=[row["clip"] for row in sorted(missing, key=lambda row: row["subject"] not in there)],
            notes=listing.notes + notes,
            left_out=listing.left_out,
            dropped=pd.DataFrame(dropped, columns=["path", "reason"]),
            windows=[Around(row["peak_frame"], self.peak or 0) for row in rows] if by_peak else None,
            faces=[labels.faces[key] for key in wanted] if by_peak else None,
        )

    def _why_unusable(self, row: dict[str, Any], face: Face | None) -> str | None:
        """Why a clip that is there cannot be taken; None if it can."""
        if row["emotion"] not in EMOTIONS:
            return f"emotion code {row['emotion']!r} is unknown"
        if self.peak is not None and row["peak_frame"] is None:
            return "no peak frame is given"
        if self.peak is not None and face is None:
            return "no two eyes are given"
        return None


def _sort(listed: Sequence[File]) -> _Files:
    """Tells videos, the table of labels and other files apart."""
    files = _Files()
    for file in listed:
        parts = _parts(file.path)
        key = _key(parts)
        if parts[-1].lower().endswith(".mat"):
            if files.details is None and parts[-1].lower() == DETAILS.lower():
                files.details = file
            else:
                files.others["tables"].append(file.path)
        elif key is None:
            files.others["strange"].append(file.path)
        elif key in files.videos:
            files.others["twice"].append(file.path)
        else:
            files.videos[key] = file
    return files


def _read_labels(details: File, videos: Mapping[Key, File]) -> _Labels:
    """Reads the table; a video is named by its numbers, or by its path where these name none that is there."""
    labels = _Labels()
    for number, cells in enumerate(_read_table(details), start=1):
        participant, video = _whole(cells[0]), _whole(cells[2])
        named = _key(_parts(_text(cells[4])))
        key = named if participant is None or video is None else (participant, str(video))
        if key not in videos and named in videos:
            key = named
        if key is None or key in labels.rows:
            reason = "says of a video what an earlier row says" if key else "names no video"
            labels.dropped.append((f"{details.path} row {number}", reason))
            continue
        labels.rows[key], labels.faces[key] = _describe(cells, key), _face(cells)
        labels.torn += [_name(key)] if named not in (None, key) else []
    return labels


def _read_table(details: File) -> np.ndarray:
    """The table of 16 columns, whatever its variable is called."""
    again = f"take {DETAILS} as the authors gave it, or save it anew with MATLAB's -v7"
    try:
        variables = loadmat(BytesIO(read_bytes(details.source)))
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise InputError(f"{details.path} cannot be read ({first_line(error)}): {again}.") from error
    for value in variables.values():
        while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
            value = value.item()
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == WIDTH and not value.dtype.names:
            return value
    raise InputError(f"{details.path} holds no table of {WIDTH} columns: {again}.")


def _parts(path: str) -> list[str]:
    """Folders and name, also of a path written on Windows."""
    return re.split(r"[/\\]", path.strip())


def _key(parts: list[str]) -> Key | None:
    """Participant and video of ``.../PS <participant>/<video>.avi``."""
    folder = re.fullmatch(r"ps[ _-]*(\d+)", parts[-2], re.IGNORECASE) if len(parts) > 1 else None
    name = parts[-1].rpartition(".")[0].lower()
    return (int(folder[1]), str(int(name)) if name.isdecimal() else name) if folder and name else None


def _name(key: Key) -> str:
    return f"PS {key[0]}/{key[1]}"


def _describe(cells: np.ndarray, key: Key) -> dict[str, Any]:
    """What a row of the table says of its video, the face apart."""
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
    """The face in the peak frame; None if it has not two eyes."""
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
    """The numbers and texts of a cell, however deep it nests."""
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
    """Whether there is something; None if the cell does not say."""
    text = _text(cell).lower()
    return None if text in ("", "nan") else text not in ("0", "0.0", "no", "n", "none", "false")
