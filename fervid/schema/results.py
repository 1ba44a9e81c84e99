"""Writes and reads the results record of a run, ``results.json`` (:class:`fervid.schema.run_record.Results`)."""

import json
import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

# Not from typing, which does not know the TypedDict of this package.
from typing_extensions import is_typeddict

from fervid.errors import InputError, first_line
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.parts import CLASSIFICATION
from fervid.schema.parts import mistake as parts_mistake
from fervid.schema.run_record import Results
from fervid.storage.atomic import write_json

RESULTS_FILE = "results.json"  # in a run folder

WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
    dict: "an object",
    list: "a list",
}


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Writes the results record atomically into a run folder; numbers that are not finite become null.

    A run counts as finished once this file exists: write it after all other files.

    Args:
        folder: run folder.
        results: :class:`fervid.schema.run_record.Results`, with any further entries.

    Raises:
        OSError: if the file cannot be written.
    """
    write_json(folder / RESULTS_FILE, results)


def read_results(folder: Path) -> dict[str, Any]:
    """Reads and checks the results record of a run folder.

    Returns:
        :class:`fervid.schema.run_record.Results`, with any further entries of the file.

    Raises:
        InputError: if the file is missing, was written by another version of fervid, has entries of the wrong type, or
            its configuration contains references. The message is a reason without the name of the folder.
    """
    path = folder / RESULTS_FILE
    if not os.path.lexists(path):
        raise InputError("the run is not finished")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"its {RESULTS_FILE} cannot be read: {first_line(error)}") from error
    if not isinstance(results, dict):
        raise InputError(f"its {RESULTS_FILE} cannot be read: it contains no results")
    missing = [name for name in Results.__annotations__ if name in Results.__required_keys__ and name not in results]
    if missing:
        raise InputError(f"its {RESULTS_FILE} has no {', '.join(missing)}: it was written by another version of fervid")
    if wrong := mistake(results):
        raise InputError(f"its {RESULTS_FILE} cannot be used: {wrong}")
    return results


def mistake(results: dict[str, Any]) -> str | None:
    """Describes the first entry with an invalid value or type; None if all are valid."""
    if (wrong := _wrong_type(results) or parts_mistake(results)) is not None:
        return wrong
    names, level = results.get("class_names", []), results["leakage"]["level"]
    if results["task"] == CLASSIFICATION and not names:
        return f"class_names is missing: the task {CLASSIFICATION} has them"
    if "" in names or len(set(names)) < len(names):
        return f"class_names is {reprlib.repr(names)}: expected distinct names"
    if level not in set(LeakageLevel):
        return f"leakage.level is {reprlib.repr(level)}: expected {', '.join(LeakageLevel)}"
    confusion = results.get("confusion", [])
    if confusion and [len(row) for row in confusion] != [len(names)] * len(names):
        return f"confusion is not a table of {len(names)} x {len(names)} numbers"
    return next(_references(results["config"], "config"), None)


@cache
def _checker() -> Any:
    from pydantic import ConfigDict, TypeAdapter, with_config  # imported late: it would delay --help by 0.1 s

    return TypeAdapter(with_config(ConfigDict(strict=True, allow_inf_nan=False))(Results))


def _wrong_type(results: dict[str, Any]) -> str | None:
    from pydantic import ValidationError

    try:
        _checker().validate_python(results)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place, declared = _declared(first["loc"])
        name = re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else part for part in place))
        if first["type"] == "missing":
            return f"{name} is missing"
        if first["type"] == "finite_number":
            return f"{name} is {first['input']}: expected a finite number"
        return f"{name} is {reprlib.repr(first['input'])}: expected {in_words(declared)}"
    return None


def _declared(location: tuple[int | str, ...]) -> tuple[list[int | str], Any]:
    """Location of an error in the record, without the union members that pydantic adds, and the expected type."""
    place: list[int | str] = []
    form: Any = Results
    for part in location:
        inner = next((each for each in _alternatives(form) if is_typeddict(each) or get_origin(each)), None)
        if inner is None:
            break
        if is_typeddict(inner):
            form = get_type_hints(inner).get(str(part), inner.__extra_items__)
        else:
            form = get_args(inner)[-1]
        place.append(part)
    return place, form


def _alternatives(form: Any) -> tuple[Any, ...]:
    return get_args(form) if get_origin(form) in (Union, UnionType) else (form,)


def in_words(form: Any) -> str:
    """Describes the type of an entry in words, such as ``a number or null``."""
    kinds = [dict if is_typeddict(each) else get_origin(each) or each for each in _alternatives(form)]
    return " or ".join(WORDS[kind] for kind in kinds)


def _references(value: Any, name: str) -> Iterator[str]:
    """Yields a sentence for each value that OmegaConf would interpolate, such as an environment variable."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _references(each, f"{name}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _references(each, f"{name}[{number}]")
    elif isinstance(value, str) and ("${" in value or value == "???"):
        yield f"{name} refers to {reprlib.repr(value)}: the configuration of a finished run contains only values"
