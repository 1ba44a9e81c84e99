"""Text that a medium would read as more than text: names of classes, subjects, files and runs may hold anything."""

import html
import math
import re
from collections.abc import Hashable

import pandas as pd


def markdown_text(text: object) -> str:
    """Text for a paragraph, a list item or a cell of a table in Markdown, in one line; HTML does not pass through.

    Args:
        text: of any kind; a value that is no text is written as ``str`` has it.
    """
    line = html.escape(" ".join(str(text).split()), quote=False)
    # An underscore within a word is a plain letter to Markdown, and many names have one.
    line = re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    # What begins a heading, a list or a line; ">" is an entity by now.
    return re.sub(r"^(\d*)(?=#|[-+.)] |--)", r"\1\\", line)


def markdown_code(text: object) -> str:
    """Text in a typewriter face for a paragraph in Markdown: a path, a command.

    Args:
        text: of any kind.
    """
    line = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def latex_text(text: object) -> str:
    """Text for a paragraph or a cell of a table in LaTeX, in one line.

    Args:
        text: of any kind.
    """
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    line = " ".join(str(text).split())
    # The line break before a row would take "[" and "*" for its own.
    return "{}" * line.startswith(("[", "*")) + "".join(special.get(letter, letter) for letter in line)


def spreadsheet(table: pd.DataFrame) -> pd.DataFrame:
    """A table for people, whose text a spreadsheet does not take for formulas: a ``'`` stands before it.

    For CSV files that people open. The files that fervid reads again (``predictions.csv`` of a run) are written as
    they are, so that names read are the names that were written.

    Args:
        table: numbers stay numbers, also negative ones that are text.
    """
    text = table.select_dtypes(exclude="number")
    guarded = {str(name): column.map(formula_guard) for name, column in text.items()}
    return table.assign(**guarded).rename(columns=formula_guard)


def formula_guard(cell: Hashable) -> Hashable:
    """A cell as it is, with a ``'`` before text that begins as a formula does."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or len(cell) == 1:
        return cell
    try:
        return cell if math.isfinite(float(cell)) else f"'{cell}"
    except ValueError:
        return f"'{cell}"
