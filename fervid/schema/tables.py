"""A table as it is reported: numbers with the way to write them, a title, notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table for the terminal, Markdown, LaTeX, CSV and the page.

    Attributes:
        name: its file, in lower case with underscores.
        title: what it shows, in one line.
        data: one row a line; numbers are numbers, whatever is unknown is missing.
        formats: how numbers of a column are written, such as ``{:.1%}``; else they are written as they are.
        notes: sentences to stand below.
    """

    name: str
    title: str
    data: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def text(self) -> pd.DataFrame:
        """The table as it is read: every cell is text, empty where nothing is known."""

        def write(value: object, form: str) -> str:
            if value is None or value is pd.NA or value != value:
                return ""
            return form.format(value) if not isinstance(value, str) else value

        columns = {
            column: [write(value, self.formats.get(column, "{}")) for value in self.data[column]]
            for column in self.data.columns
        }
        return pd.DataFrame(columns, columns=self.data.columns, dtype=str)
