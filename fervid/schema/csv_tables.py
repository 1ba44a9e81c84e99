"""Reads all CSV files, written by fervid or by users; only empty cells are missing values."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from fervid.schema.columns import Kind, columns_of
from fervid.schema.names import clean_column, clean_name

TEXT = columns_of(Kind.NAME, Kind.PATH)  # never parsed as numbers: subject 01 is not 1
VERBATIM = columns_of(Kind.PATH)  # file names are kept exactly, including blanks


def read_csv(
    source: str | Path | TextIO, *, numbers: bool = False, text: Collection[str] = (), **options: Any
) -> pd.DataFrame:
    """Reads a CSV file.

    Only empty cells are missing values. pandas would also treat ``NA``, ``None``, ``nan`` and ``null`` as missing, but
    these can be names of subjects or emotions. Names are cleaned (:func:`fervid.schema.names.clean_name`) in cells and
    in the header; paths are not changed.

    Args:
        source: path of the file, or an open file.
        numbers: whether to parse columns of numbers, except those in :data:`TEXT`; otherwise every cell is text.
        text: further columns that are never parsed as numbers.
        **options: further arguments of :func:`pandas.read_csv`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is not a valid table.
    """
    dtype: Any = dict.fromkeys([*TEXT, *text], str) if numbers else str
    table = pd.read_csv(source, dtype=dtype, keep_default_na=False, na_values=[""], low_memory=False, **options)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its header has names")
    table.columns = [clean_name(str(column)) for column in table.columns]
    duplicated = table.columns[table.columns.duplicated()]
    if len(duplicated):
        raise ValueError(f"it has two columns named {duplicated[0]!r}")
    texts = [name for name in table.select_dtypes(exclude="number") if name not in VERBATIM]
    return table.assign(**{name: clean_column(table[name]) for name in texts})
