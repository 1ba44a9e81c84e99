"""Reads files with numeric features, CSV or Parquet, within limits of size."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from fervid.errors import InputError, first_line
from fervid.schema.csv_tables import read_csv
from fervid.schema.names import clean_name

SUFFIXES = (".csv", ".parquet")
NAME_COLUMNS = ("clip", "name", "video_name", "file", "filename", "path")
"""Columns that may name the clip of a row, the first one first."""
ORDER_COLUMNS = ("frame", "timestamp", "frametime", "time")
"""Columns that may order the rows of a clip."""
SUCCESS = "success"  # whether OpenFace tracked the face

MAX_ROWS = 20_000  # of a clip: eleven minutes at 30 frames per second
MAX_CLIP_BYTES = 2**29  # of a file with one clip; 20,000 rows of OpenFace's 714 columns take 100 MB
MAX_TABLE_BYTES = 2**32  # of a file with all clips
MAX_CELLS = 2**30  # of a Parquet file, which can be compressed to almost nothing
MAX_HEADER_CHARACTERS = 2**22

MISSING = {"", "na", "n/a", "nan", "-nan", "nan(ind)", "-nan(ind)", "null", "none"}
"""Words for a missing number; OpenFace writes ``-nan(ind)`` on Windows."""


def table_files(path: Path) -> Iterator[Path]:
    """Yields the table itself, or all CSV and Parquet files in a folder and its sub-folders, sorted by path.

    Raises:
        InputError: if the path does not exist, or a folder contains no such files.
    """
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise InputError(
            f"dataset.features_path={path} does not exist: give a CSV or Parquet file, or a folder with one per clip."
        )
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith((".", "__MACOSX")) for part in file.relative_to(path).parts)
    ]
    if not files:
        raise InputError(f"dataset.features_path={path} has no .csv or .parquet file: give the folder that has them.")
    yield from files


@dataclass(frozen=True)
class FeatureTable:
    """The content of a file.

    Attributes:
        columns: names of all columns.
        numeric: names of the columns of numbers, in order.
        values: the numbers, float32 of shape (rows, columns of numbers); missing values are NaN.
        names: the columns that may name the clip of a row, as text, in the order of :data:`NAME_COLUMNS`; the index is
            the row in the file.
        order: position of each row in time, float64; None if no column of :data:`ORDER_COLUMNS` has numbers.
        tracked: whether OpenFace tracked the face in each row; None if there is no such column.
    """

    columns: list[str]
    numeric: list[str]
    values: np.ndarray
    names: dict[str, pd.Series]
    order: np.ndarray | None
    tracked: np.ndarray | None

    def select(self, columns: Sequence[str]) -> np.ndarray:
        """Returns columns of numbers, float32 of shape (rows, columns)."""
        position = {name: number for number, name in enumerate(self.numeric)}
        return self.values[:, [position[name] for name in columns]]


def read_table(path: Path, max_rows: int | None = None) -> FeatureTable:
    """Reads a CSV or Parquet file.

    The separator of a CSV (comma, semicolon or tab) is found in its header. Decimal commas are read if they are not the
    separator. Rows with neither a number nor a name are dropped.

    Args:
        path: path of the file.
        max_rows: largest number of rows, for a file with one clip; None: a file with all clips.

    Raises:
        ValueError: if the file cannot be read or is too large; the message says why.
    """
    try:
        size, most = path.stat().st_size, MAX_TABLE_BYTES if max_rows is None else MAX_CLIP_BYTES
        if size > most:
            raise ValueError(f"it has {size / 2**20:,.0f} MiB, more than {most / 2**20:,.0f}")
        table = (_read_parquet if path.suffix.lower() == ".parquet" else _read_csv)(path, max_rows)
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError("it is empty") from error
    except (OSError, pa.ArrowException, MemoryError, csv.Error) as error:
        raise ValueError(getattr(error, "strerror", None) or first_line(error)) from error
    if max_rows is not None and len(table) > max_rows:
        raise ValueError(f"it has more than {max_rows:,} rows")
    content = _split(table)
    if not len(content.values):
        raise ValueError("it has no rows")
    return content


def _read_csv(path: Path, max_rows: int | None) -> pd.DataFrame:
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline(MAX_HEADER_CHARACTERS)
    separator = max(",;\t", key=header.count)
    columns = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    names = [column for column in columns if column.strip().lower() in NAME_COLUMNS]
    # OpenFace writes a space after each comma.
    options: dict[str, Any] = {"sep": separator, "skipinitialspace": True, "encoding": "utf-8-sig"}
    table = read_csv(path, numbers=True, text=names, nrows=None if max_rows is None else max_rows + 1, **options)
    return _with_numbers(table, decimal_comma=separator != ",")


def _read_parquet(path: Path, max_rows: int | None) -> pd.DataFrame:
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        if max_rows is not None and rows > max_rows:
            raise ValueError(f"it has {rows:,} rows, more than {max_rows:,}")
        if rows * len(schema) > MAX_CELLS:
            raise ValueError(f"it has {rows:,} rows of {len(schema):,} columns, more than {MAX_CELLS:,} cells")
        if len(set(schema.names)) < len(schema):
            raise ValueError("it has two columns of the same name")
        plain = [field.name for field in schema if _is_number(field.type) or field.name.lower() in NAME_COLUMNS]
        # Otherwise columns that were the index in pandas would be lost.
        table = file.read(columns=plain).to_pandas(ignore_metadata=True)
    others = {name: "not a number" for name in schema.names if name not in plain}  # texts, lists, dates, pictures
    table = table.assign(**others)[schema.names]
    table.columns = pd.Index([clean_name(str(column)) for column in table.columns])
    return _with_numbers(table)


def _is_number(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pt.is_integer, pt.is_floating, pt.is_boolean, pt.is_decimal))


def _with_numbers(table: pd.DataFrame, *, decimal_comma: bool = False) -> pd.DataFrame:
    """Converts columns of numbers, also those with words for missing numbers, to numbers and names of clips to text."""
    converted = {}
    for name, kind in table.dtypes.items():
        if str(name).lower() in NAME_COLUMNS:
            converted[str(name)] = table[name].astype(object).map(str, na_action="ignore")
        elif not pd.api.types.is_numeric_dtype(kind):
            converted[str(name)] = _numbers(table[name], decimal_comma=decimal_comma)
    return table.assign(**converted)


def _split(table: pd.DataFrame) -> FeatureTable:
    by_name = {str(name).lower(): str(name) for name in reversed(table.columns)}
    names = {by_name[name]: table[by_name[name]] for name in NAME_COLUMNS if name in by_name}
    numbers = table.select_dtypes(["number", "bool"]).drop(columns=list(names), errors="ignore")
    numeric = list(map(str, numbers.columns))
    order = next((by_name[name] for name in ORDER_COLUMNS if by_name.get(name) in numeric), None)
    success = by_name.get(SUCCESS)
    with np.errstate(over="ignore"):  # numbers that are too large become infinite, so their rows are not used
        values = numbers.to_numpy(np.float32, na_value=np.nan)
    kept = ~np.isnan(values).all(axis=1)
    for text in names.values():
        kept |= text.notna().to_numpy()
    return FeatureTable(
        columns=list(map(str, table.columns)),
        numeric=numeric,
        values=values[kept],
        names={name: text[kept] for name, text in names.items()},
        order=table[order].to_numpy(np.float64, na_value=np.nan)[kept] if order else None,
        tracked=(table[success].fillna(0).to_numpy() != 0)[kept] if success in numeric else None,
    )


def _numbers(values: pd.Series, *, decimal_comma: bool) -> pd.Series:
    """Converts text to numbers; returns it unchanged if a cell is neither a number nor a word for a missing one."""
    text = values.astype(object).map(str, na_action="ignore").str.strip()
    missing = text.isna() | text.str.lower().isin(MISSING)
    text = text.mask(missing)
    numbers = pd.to_numeric(text.str.replace(",", ".") if decimal_comma else text, errors="coerce")
    return numbers.astype(np.float64) if bool((numbers.notna() | missing).all()) else values
