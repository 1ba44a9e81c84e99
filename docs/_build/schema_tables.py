"""Generates the tables of the reference pages from ``fervid.schema``, so that they always match the code.

A comment such as ``<!-- table: columns key -->`` on its own line of a page is replaced by a table.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin, get_type_hints

from griffe import Docstring, DocstringSectionKind
from typing_extensions import is_typeddict

from fervid.schema.columns import COLUMNS, Role
from fervid.report.references import MEASURES, read_references
from fervid.schema.results import in_words
from fervid.schema.run_record import Results

MARKER = re.compile(r"^<!-- table: (\w+) ?(.*) -->$", re.MULTILINE)
EACH = {list: "[]", dict: ".*"}  # suffix of the name of an entry with several items


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Replaces the markers of a page; called by MkDocs."""
    return MARKER.sub(lambda marker: "\n".join(TABLES[marker[1]](marker[2])), markdown)


def _columns(role: str) -> Iterator[str]:
    yield "| column | type of the cells | meaning | written by |"
    yield "|---|---|---|---|"
    for column in COLUMNS.values():
        if column.role is Role[role.upper()]:
            author = "fervid" if column.reserved else "every corpus" if column.required else "some corpora"
            yield f"| `{column.name}` | {column.kind.value} | {column.meaning} | {author} |"


def _faces(_: str) -> Iterator[str]:
    from fervid.predict.face_tables import FACE_COLUMNS  # imports torch

    yield "| column | meaning |"
    yield "|---|---|"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in FACE_COLUMNS.items())


def _parts(_: str) -> Iterator[str]:
    from fervid.predict.face_tables import PART_COLUMNS  # imports torch

    yield "| predicted by the run | column | meaning |"
    yield "|---|---|---|"
    for part, columns in PART_COLUMNS.items():
        yield from (f"| {part} | `{name}` | {meaning} |" for name, meaning in columns.items())


def _windows(_: str) -> Iterator[str]:
    from fervid.predict.window_tables import WINDOW_COLUMNS  # imports torch

    yield "| column | meaning |"
    yield "|---|---|"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in WINDOW_COLUMNS.items())


def _references(_: str) -> Iterator[str]:
    yield "| corpus | modalities | emotions | protocol | system | measure | percent | certainty | remark |"
    yield "|---|---|--:|---|---|---|--:|---|---|"
    for each in read_references():
        protocol = ", ".join(f"`{name}={value}`".replace(" ", "") for name, value in each["protocol"].items())
        for result in each["results"]:
            yield (
                f"| {each['corpus']} | {', '.join(each['modalities'])} | {each['classes']} | {protocol} | "
                f"{result['system']} ({result['citation']}) | {MEASURES[result['measure']]} | {result['percent']:.2f} | "
                f"{result['certainty']} | {result.get('remark', '')} |"
            )


def _answers(_: str) -> Iterator[str]:
    from fervid.predict.answers import ANSWER_COLUMNS

    yield "| column | meaning |"
    yield "|---|---|"
    yield from (f"| `{name}` | {meaning.replace('|', '&#124;')} |" for name, meaning in ANSWER_COLUMNS.items())


def _results(_: str) -> Iterator[str]:
    yield "| entry | type | meaning | always present |"
    yield "|---|---|---|---|"
    for name, form, meaning, required in _entries(Results):
        yield f"| `{name}` | {in_words(form)} | {meaning} | {'yes' if required else ''} |"


def _entries(record: Any, prefix: str = "", required: bool = True) -> Iterator[tuple[str, Any, str, bool]]:
    """Yields each entry of a typed record: its dotted name, type, meaning, and whether it is always present."""
    sections = Docstring(record.__doc__, parser="google").parse()
    attributes = next(section for section in sections if section.kind is DocstringSectionKind.attributes)
    meanings = {attribute.name: attribute.description for attribute in attributes.value}
    for name, form in get_type_hints(record).items():
        present = required and name in record.__required_keys__
        yield prefix + name, form, meanings[name].removesuffix("."), present
        for inner in (form, *get_args(form)):
            if is_typeddict(inner):
                yield from _entries(inner, f"{prefix}{name}{EACH.get(get_origin(form), '')}.", present)


TABLES: dict[str, Callable[[str], Iterator[str]]] = {
    "columns": _columns,
    "faces": _faces,
    "parts": _parts,
    "windows": _windows,
    "references": _references,
    "answers": _answers,
    "results": _results,
}
