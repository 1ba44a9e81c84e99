from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from fervid.schema import tables
from fervid.schema.tables import Table


def printed(table, width=60, **options):
    console = Console(file=StringIO(), width=width)
    table.print(console, **options)
    return console.file.getvalue()


DATA = pd.DataFrame({"name": ["[red]a.mp4", "b"], "share": [0.25, None], "count": [7, 12]})


def test_terminal_formats_numbers_and_keeps_text():
    said = printed(Table("t", "what [b] is there", DATA, {"share": "{:.1%}"}, ["a note on [x]"]))
    lines = [line.split() for line in said.splitlines() if line.strip()]
    assert lines[0] == ["what", "[b]", "is", "there"]
    assert lines[1] == ["name", "share", "count"]
    assert lines[3:] == [["[red]a.mp4", "25.0%", "7"], ["b", "12"], ["a", "note", "on", "[x]"]]


def test_numbers_are_right_aligned_and_text_left_aligned():
    said = printed(Table("t", "title", DATA)).splitlines()
    row = next(line for line in said if line.strip().startswith("b"))
    assert row.startswith("b ")
    assert row.rstrip().endswith("  12")
    mixed = Table("t", "title", pd.DataFrame({"in two subsets": ["unknown", 3], "words": ["a", None]}))
    assert mixed.right_columns() == {"in two subsets"}


def test_long_table_is_shortened_with_a_note(monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 1)
    said = printed(Table("t", "title", DATA), rest=": t.csv")
    assert "b  " not in said
    assert "1 more rows: t.csv" in said


@pytest.mark.parametrize("level", ["subject-independent by name", "unknown-subjects"])
def test_leakage_levels_are_broken_only_at_hyphens(level):
    wide = pd.DataFrame({"system": ["a name of a system that is long"], "leakage": [level], "more": ["x" * 30]})
    words = set(printed(Table("t", "title", wide), width=70).split())
    assert words >= set(level.replace("-", "- ").split())
