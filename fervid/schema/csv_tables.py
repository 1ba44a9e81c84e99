"""The one reader of CSV files, of fervid's own and of users': only an empty cell is missing."""

from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from fervid.schema.columns import Kind, columns_of
from fervid.schema.names import clean_column, clean_name

TEXT = columns_of(Kind.NAME, Kind.PATH)  # never numbers: the subject 01 is not the number 1
VERBATIM = columns_of(Kind.PATH)  # names of files are what the disk says, blanks included


def read_csv(source: str | Path | TextIO, *, numbers: bool = False, **options: Any) -> pd.DataFrame:
    """Reads a CSV file.

    pandas takes ``NA``, ``None``, ``nan`` and ``null`` for missing, which are names of people and of emotions: here
    an empty cell alone is. Names are cleaned (:func:`fervid.schema.names.clean_name`), in cells and in the first line;
    paths are left as they are.

    Args:
        source: the file, or one that is open.
        numbers: turn columns of numbers into numbers, except :data:`TEXT`; else every cell is text.
        **options: of :func:`pandas.read_csv`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not such a table.
    """
    dtype: Any = dict.fromkeys(TEXT, str) if numbers else str
    table = pd.read_csv(source, dtype=dtype, keep_default_na=False, na_values=[""], low_memory=False, **options)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("it has more fields in its rows than names in its first line")
    table.columns = [clean_name(str(column)) for column in table.columns]
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ValueError(f"it has two columns {twice[0]!r}")
    return table.assign(**{name: clean_column(table[name]) for name in table if name not in VERBATIM})
