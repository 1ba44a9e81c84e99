"""A table as it is reported: numbers with the way to write them, a title, notes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from rich.console import Console

MAX_ROWS = 40  # that a terminal or a page shows; the CSV beside a report has all


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

    def right_columns(self) -> set[str]:
        """The columns that hold numbers, which are aligned to the right."""
        return {
            str(name)
            for name in self.data
            if pd.api.types.is_numeric_dtype(self.data[name])
            or any(isinstance(value, Number) and value == value for value in self.data[name])
        }

    def notes_with_rest(self, rest: str = "") -> list[str]:
        """The notes, and how many rows a terminal or a page does not show.

        Args:
            rest: where these are, such as ``: scores.csv``.
        """
        more = len(self.data) - MAX_ROWS
        return [*self.notes, *([f"{more} more rows{rest}"] if more > 0 else [])]

    def print(self, console: "Console", rest: str = "") -> None:
        """Shows its first :data:`MAX_ROWS` rows on a terminal, and the notes below.

        Args:
            console: where to.
            rest: where the other rows are, such as ``: scores.csv``.
        """
        from rich import box  # here: most tables are written to files alone
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        right = self.right_columns()
        for name in map(str, self.data):
            shown.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
        text = self.text().head(MAX_ROWS)
        if "leakage" in text:  # rich breaks a long word anywhere, and a terminal is narrow
            text["leakage"] = [textwrap.fill(cell, 12, break_long_words=False) for cell in text["leakage"]]
        for row in text.itertuples(index=False):
            shown.add_row(*map(Text, row))  # names of files and classes may look like markup
        console.print(Text(self.title, style="bold"))  # not the table's own, which is as narrow as the table
        console.print(shown)
        for note in self.notes_with_rest(rest):
            console.print(Text(note), style="dim")
        console.print()
