"""Readers of corpora: one class per corpus, which turns a folder into a table of clips.

Classes are found by name in all modules of this package. A new corpus needs one module here and one yaml in
``conf/dataset``.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


@cache
def find_corpora() -> dict[str, type]:
    """Returns all corpora of this package by class name."""
    from fervid.corpora.corpus import Corpus

    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = {name: item for module in modules for name, item in vars(module).items() if isinstance(item, type)}
    return {name: item for name, item in sorted(found.items()) if issubclass(item, Corpus) and hasattr(item, "name")}


def __getattr__(name: str) -> Any:
    # Lazy: a process that needs one module of this package must not load pyarrow and SciPy for the others.
    if name.startswith("_") or name not in find_corpora():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return find_corpora()[name]
