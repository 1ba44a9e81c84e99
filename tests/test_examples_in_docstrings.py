"""Runs the examples in docstrings, which the API pages show."""

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
def test_docstring_examples_are_correct(name):
    failed, examples = doctest.testmod(import_module(name))
    assert failed == 0
    assert examples > 0


def test_main_modules_have_docstring_examples():
    packages = {name.split(".")[1] for name in MODULES}
    assert packages >= {"audit", "cli", "corpora", "figures", "metrics", "models", "schema", "splits", "tasks"}
