"""The examples of the docstrings run, so that what the API pages show is true."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "fervid").rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_show(name):
    failed, examples = doctest.testmod(import_module(name))
    assert failed == 0
    assert examples > 0


def test_the_modules_a_library_user_meets_first_have_examples():
    rooms = {name.split(".")[1] for name in MODULES}
    assert rooms >= {"audit", "cli", "corpora", "figures", "metrics", "models", "schema", "splits", "tasks"}
