"""The reference pages of the documentation site, which are generated from the schema."""

import importlib.util
from pathlib import Path

import pytest

from fervid.predict.face_tables import FACE_COLUMNS
from fervid.schema.columns import COLUMNS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("schema_tables", DOCS / "_build" / "schema_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.on_page_markdown


def test_reference_lists_every_column_with_its_meaning(hook):
    page, _ = hook((DOCS / "reference" / "tables.md").read_text("utf-8")).split("\n## Faces\n")
    listed = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert {name.strip("|` "): meaning for name, _, meaning, *_ in listed if name.strip("|` ") in COLUMNS} == {
        column.name: column.meaning for column in COLUMNS.values()
    }


def test_reference_lists_the_columns_of_the_faces_table(hook):
    page = hook((DOCS / "reference" / "tables.md").read_text("utf-8"))
    listed = page[page.index("## Faces\n") :]
    assert all(f"| `{name}` | {meaning} |" in listed for name, meaning in FACE_COLUMNS.items())


def test_reference_lists_the_fields_of_results_with_their_types(hook):
    page = hook((DOCS / "reference" / "run_folder.md").read_text("utf-8"))
    assert "| `data.corpora[].root` | text or null |" in page
    assert "| `data.emotion_by_split.*.train` | a whole number |" in page
    assert "| `leakage.level` | text | the leakage level | yes |" in page
