"""Escaping of text for Markdown, LaTeX and spreadsheets, since names of classes, subjects and files are arbitrary."""

import html
import math
import re
from collections.abc import Hashable

import pandas as pd


def markdown_text(text: object) -> str:
    """Escapes text for a paragraph, a list item or a table cell in Markdown, in one line; HTML is escaped, too.

    Args:
        text: text, or any object, which is converted by ``str``.
    """
    line = html.escape(" ".join(str(text).split()), quote=False)
    # An underscore inside a word, which is common in names, has no meaning in Markdown and is not escaped.
    line = re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    # Characters that start a heading, a list or a rule; ">" is already an entity.
    return re.sub(r"^(\d*)(?=#|[-+.)] |--)", r"\1\\", line)


def markdown_code(text: object) -> str:
    """Formats text such as a path or a command as inline code in Markdown.

    Args:
        text: text, or any object, which is converted by ``str``.
    """
    line = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def latex_text(text: object) -> str:
    """Escapes text for a paragraph or a table cell in LaTeX, in one line.

    Args:
        text: text, or any object, which is converted by ``str``.
    """
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    line = " ".join(str(text).split())
    # At the start of a row, "[" and "*" would be read as arguments of the preceding line break.
    return "{}" * line.startswith(("[", "*")) + "".join(special.get(letter, letter) for letter in line)


def spreadsheet(table: pd.DataFrame) -> pd.DataFrame:
    """Prefixes text that a spreadsheet would evaluate as a formula with ``'``.

    Use it for CSV files that people open. Files that fervid reads again, such as ``predictions.csv`` of a run, are
    written without it, so that names are read exactly as they were written.

    Args:
        table: table to guard. Numbers are not changed, including negative numbers stored as text.
    """
    text = table.select_dtypes(exclude="number")
    guarded = {str(name): column.map(formula_guard) for name, column in text.items()}
    return table.assign(**guarded).rename(columns=formula_guard)


def formula_guard(cell: Hashable) -> Hashable:
    """Returns a cell, prefixed with ``'`` if it is text that starts like a formula."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or len(cell) == 1:
        return cell
    try:
        return cell if math.isfinite(float(cell)) else f"'{cell}"
    except ValueError:
        return f"'{cell}"
