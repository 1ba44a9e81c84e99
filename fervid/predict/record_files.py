"""Writes the rows of predictions to a CSV and to JSON Lines while the sources are processed."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from fervid.schema.csv_tables import read_csv
from fervid.storage.escaping import formula_guard


class RecordFiles:
    """Context manager that writes rows to a CSV and to JSON Lines while the sources are processed.

    Rows are flushed as they are written, so both files contain only complete lines at any time. In the CSV, text that a
    spreadsheet would interpret as a formula is prefixed with ``'``; the JSON Lines contain the exact text.

    Args:
        folder: folder in which the files are created.
        name: name of the files without suffix.
        columns: the columns of the rows.

    Raises:
        OSError: here and in :meth:`write`, if the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path, name: str, columns: Sequence[str]):
        self._columns = list(columns)
        self._jsonl = open(folder / f"{name}.jsonl", "w", encoding="utf-8")
        self._csv = open(folder / f"{name}.csv", "w", encoding="utf-8", newline="")
        self._csv.write(self._lines([dict(zip(self._columns, self._columns, strict=True))]))

    def __enter__(self) -> "RecordFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jsonl.close()
        self._csv.close()

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends rows."""
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
