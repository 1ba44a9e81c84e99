"""The reference pages, which are generated from the schema, and the cross-references of docstrings."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

from fervid.predict.face_tables import FACE_COLUMNS
from fervid.predict.window_tables import WINDOW_COLUMNS
from fervid.schema.columns import COLUMNS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROLE = re.compile(r":(?:func|class|meth|attr|data|mod|exc|obj):`~?(fervid\.[\w.]+)`")


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


def test_reference_lists_the_columns_of_the_windows_table(hook):
    page = hook((DOCS / "reference" / "tables.md").read_text("utf-8"))
    listed = page[page.index("## Windows\n") :]
    assert all(f"| `{name}` | {meaning} |" in listed for name, meaning in WINDOW_COLUMNS.items())


def test_reference_lists_the_fields_of_results_with_their_types(hook):
    page = hook((DOCS / "reference" / "run_folder.md").read_text("utf-8"))
    assert "| `data.corpora[].root` | text or null |" in page
    assert "| `data.emotion_by_split.*.train` | a whole number |" in page
    assert "| `leakage.level` | text | the leakage level | yes |" in page


def test_names_in_roles_exist():
    roles = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "fervid").rglob("*.py")
        for name in ROLE.findall(path.read_text("utf-8"))
    ]
    assert len(roles) > 50
    assert [role for role in roles if not exists(role[1])] == []


def exists(name):
    """Whether a dotted name is that of a module, class, function or attribute; instance attributes are annotated."""
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        owner, _, attribute = name.rpartition(".")
        try:
            return attribute in getattr(pkgutil.resolve_name(owner), "__annotations__", {})
        except (AttributeError, ImportError):
            return False
    return True
