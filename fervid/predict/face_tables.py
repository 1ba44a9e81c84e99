"""Writes one row per predicted face to ``faces.csv`` and ``faces.jsonl`` while the sources are processed."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from fervid.media.decoding import Frame
from fervid.predict.predictor import FacePrediction
from fervid.schema.columns import BOX, COLUMNS
from fervid.schema.csv_tables import read_csv
from fervid.schema.predictions import probability_columns
from fervid.storage.escaping import formula_guard

CSV_FILE, JSON_LINES_FILE = "faces.csv", "faces.jsonl"
FACE_COLUMNS = {
    "source": "the picture or video, as named in `source=`",
    "frame": "number of the frame in the video, from 0; 0 in a picture",
    "time": "seconds from the start of the video; 0 in a picture",
    "person": "number of the person tracked through the video, from 1; empty in a picture",
    **{name: COLUMNS[name].meaning for name in (*BOX, "aligned")},
    "emotion": COLUMNS["predicted"].meaning,
    "confidence": "the probability of the predicted emotion",
}
"""The columns of the table of faces and their meaning. A column ``prob_<class>`` for each class follows them."""


def records(
    source: str, frame: Frame, faces: Sequence[FacePrediction], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns the faces of a frame as rows of the table of faces.

    Args:
        source: name of the picture or video.
        frame: the frame that shows the faces; for a picture, number 0 at second 0.
        faces: the predictions for this frame.
        class_names: the emotions, in the order of the probabilities.

    Returns:
        One dict per face with the keys :data:`FACE_COLUMNS` (None where missing) and ``prob_<class>`` for each class.
    """
    return [
        {
            "source": source,
            "frame": frame.number,
            "time": round(frame.time, 4),
            "person": face.person,
            **{name: round(float(value), 1) for name, value in zip(BOX, face.face.box, strict=True)},
            "aligned": face.aligned,
            "emotion": face.emotion,
            "confidence": round(face.confidence, 6),
            **{
                name: round(float(p), 6)
                for name, p in zip(probability_columns(class_names), face.probabilities, strict=True)
            },
        }
        for face in faces
    ]


class RecordFiles:
    """Context manager that writes rows to ``faces.csv`` and ``faces.jsonl``.

    Rows are flushed as they are written, so both files contain only complete lines at any time. In the CSV, text that a
    spreadsheet would interpret as a formula is prefixed with ``'``; the JSON Lines contain the exact text.

    Args:
        folder: folder in which the files are created.
        class_names: the emotions, in the order of the probabilities.

    Raises:
        OSError: here and in :meth:`write`, if the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self._columns = [*FACE_COLUMNS, *probability_columns(class_names)]
        self.class_names = list(class_names)
        self._jsonl = open(folder / JSON_LINES_FILE, "w", encoding="utf-8")
        self._csv = open(folder / CSV_FILE, "w", encoding="utf-8", newline="")
        self._csv.write(self._lines([dict(zip(self._columns, self._columns, strict=True))]))

    def __enter__(self) -> "RecordFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jsonl.close()
        self._csv.close()

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends the rows of a frame."""
        if rows:
            self._jsonl.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            self._jsonl.flush()
            self._csv.write(self._lines(rows))
            self._csv.flush()

    @property
    def position(self) -> int:
        """File position at which the next row will begin; see :meth:`rows_from`."""
        return self._csv.tell()

    def rows_from(self, position: int) -> pd.DataFrame:
        """Reads the rows from a position to the end of the CSV; they are not kept in memory."""
        with open(self._csv.name, encoding="utf-8", newline="") as file:
            file.seek(position)
            return read_csv(file, numbers=True, names=self._columns)

    def _lines(self, rows: Sequence[dict[str, Any]]) -> str:
        lines = StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerows([formula_guard(row[name]) for name in self._columns] for row in rows)
        return lines.getvalue()
