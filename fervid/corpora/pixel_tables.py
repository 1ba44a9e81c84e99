"""CSV files with a picture in each row: the columns ``emotion``, ``pixels`` and ``Usage`` of FER2013 and its copies."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.errors import InputError, first_line
from fervid.media.files import File
from fervid.media.sources import read_bytes
from fervid.schema.csv_tables import read_csv

SIDE = 48  # of a picture, in pixels
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def read_pixel_rows(file: File) -> pd.DataFrame:
    """Reads a table without its pixels.

    Returns:
        One row per picture: the columns of the table, and ``file``, which names the row. The file of a row is read with
        those of other rows, by :func:`read_pixels`.

    Raises:
        InputError: if the file cannot be read or a column is missing.
    """
    header = read_table(file, nrows=0)
    check_columns(file, header, ["emotion", "pixels", "Usage"])
    rows = read_table(file, usecols=lambda name: name.strip() != "pixels")
    files = [File(f"{file.path}/{row}", file.source, file.stamp, file.suffix) for row in range(len(rows))]
    return rows.assign(file=pd.Series(files, rows.index, dtype=object))


def check_usages(file: File, usages: pd.Series) -> pd.Series:
    """Returns the subset of each row.

    Raises:
        InputError: if a value is unknown or missing.
    """
    unknown = sorted(set(usages.dropna()) - USAGES.keys())
    if unknown or usages.isna().any():
        raise InputError(f"{file.path} has the Usage {unknown[0] if unknown else ''!r}: use {', '.join(USAGES)}.")
    return usages.map(USAGES)


def read_pixels(files: Sequence[File]) -> Iterator[bytes]:
    """Yields pictures as PGM files, empty if the pixels are not valid.

    Args:
        files: rows of one table, in order, from :func:`read_pixel_rows`.

    Raises:
        InputError: if the table cannot be read.
    """
    used = {int(file.parts[-1]) for file in files}
    yield from (picture for row, picture in enumerate(_pictures(files[0])) if row in used)


def read_table(file: File, **options: Any) -> pd.DataFrame:
    """Reads a CSV file, also in a zip, with :func:`fervid.schema.csv_tables.read_csv`.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        source = file.source if isinstance(file.source, Path) else io.StringIO(_text(file))
        return read_csv(source, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.path} cannot be read ({first_line(error)}): unpack or download it again.") from error


def check_columns(file: File, table: pd.DataFrame, expected: list[str]) -> None:
    """Checks that a table has the expected columns.

    Raises:
        InputError: if one is missing.
    """
    absent = [name for name in expected if name not in table]
    if absent:
        raise InputError(
            f"{file.path} has the columns {', '.join(map(str, table.columns))}, but no {' and no '.join(absent)}: give "
            "the file as published."
        )


def _pictures(file: File) -> Iterator[bytes]:
    source = file.source
    with (
        open(source, encoding="utf-8-sig", newline="")
        if isinstance(source, Path)
        else io.StringIO(_text(file), newline="") as lines
    ):
        rows = csv.reader(lines)
        column = [name.strip() for name in next(rows)].index("pixels")
        try:
            for row in rows:
                if row:
                    yield _pgm(row[column]) if len(row) > column else b""
        except (csv.Error, ValueError, OSError) as error:
            table = file.path.rpartition("/")[0]
            raise InputError(f"{table} cannot be read ({first_line(error)}): download it again.") from error


def _pgm(pixels: str) -> bytes:
    try:
        values = bytes(map(int, pixels.split()))
    except ValueError:  # not a number, or not 0 to 255
        return b""
    return b"P5 %d %d 255\n" % (SIDE, SIDE) + values if len(values) == SIDE**2 else b""


def _text(file: File) -> str:
    return read_bytes(file.source).decode("utf-8-sig")
