"""Readers of corpora: one plain class a corpus, from a folder to a table of clips.

A class is found by its name in any module of this room: a new corpus is one file here and one yaml in ``conf/dataset``.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


@cache
def find_corpora() -> dict[str, type]:
    """Every corpus of this room, by the name of its class."""
    from fervid.corpora.corpus import Corpus

    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = {name: item for module in modules for name, item in vars(module).items() if isinstance(item, type)}
    return {name: item for name, item in sorted(found.items()) if issubclass(item, Corpus) and hasattr(item, "name")}


def __getattr__(name: str) -> Any:
    # Looked for when asked: a process that needs one module of this room does not load pyarrow and SciPy for others.
    if name.startswith("_") or name not in find_corpora():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return find_corpora()[name]
