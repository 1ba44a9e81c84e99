"""A table for reports: data with number formats, a title and notes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from rich.console import Console

MAX_ROWS = 40  # shown on a terminal or page; CSV files contain all rows


@dataclass(frozen=True)
class Table:
    """A table for the terminal, Markdown, LaTeX, CSV and HTML.

    Attributes:
        name: file name without ending, in lower case with underscores.
        title: title in one line.
        data: the rows; unknown values are missing.
        formats: number format of each column, such as ``{:.1%}``; other columns are converted with ``str``.
        notes: sentences below the table.
    """

    name: str
    title: str
    data: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def text(self) -> pd.DataFrame:
        """Returns the formatted table: every cell is text, empty if the value is missing."""

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
        """Returns the columns with numbers, which are right-aligned."""
        return {
            str(name)
            for name in self.data
            if pd.api.types.is_numeric_dtype(self.data[name])
            or any(isinstance(value, Number) and value == value for value in self.data[name])
        }

    def notes_with_rest(self, rest: str = "") -> list[str]:
        """Returns the notes, followed by the number of rows that are not shown, if any.

        Args:
            rest: where to find these rows, such as ``: scores.csv``.
        """
        more = len(self.data) - MAX_ROWS
        return [*self.notes, *([f"{more} more rows{rest}"] if more > 0 else [])]

    def print(self, console: "Console", rest: str = "") -> None:
        """Prints the first :data:`MAX_ROWS` rows and the notes.

        Args:
            console: console to print to.
            rest: where to find the other rows, such as ``: scores.csv``.
        """
        from rich import box  # not at the top: most tables are only written to files
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        right = self.right_columns()
        for name in map(str, self.data):
            shown.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
        text = self.text().head(MAX_ROWS)
        if "leakage" in text:  # rich would break long words anywhere on a narrow terminal
            text["leakage"] = [textwrap.fill(cell, 12, break_long_words=False) for cell in text["leakage"]]
        for row in text.itertuples(index=False):
            shown.add_row(*map(Text, row))  # file and class names may look like markup
        console.print(
            Text(self.title, style="bold")
        )  # not the title of the rich table, which is wrapped to the width of the table
        console.print(shown)
        for note in self.notes_with_rest(rest):
            console.print(Text(note), style="dim")
        console.print()
