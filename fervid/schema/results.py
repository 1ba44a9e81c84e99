"""The content of a ``results.json``: which entries it must have and of which types they are."""

import math
import reprlib
from collections.abc import Iterator
from typing import Any

from fervid.schema.leakage_levels import LeakageLevel

NUMBER = (int, float)
COUNTS = {"train": int, "val": int, "test": int}
LEAKS = {"count": int}

# A name that ends in "?" may be absent; the key `str` stands for all names; a tuple lists alternatives.
RESULTS: dict[Any, Any] = {
    "choices": {str: (str, None)},
    "config": {
        "seed?": (int, None),
        "split?": ({"seed?": (int, None), "fold?": (int, str, None)}, None),
        "dataset?": (
            {
                "seed?": (int, None),
                "root?": (str, None),
                "face_size?": int,
                "margin?": NUMBER,
                "grey?": bool,
            },
            None,
        ),
        "detector?": (dict, None),
        "backbone?": dict,
        "head?": dict,
        "finetune?": ({"phases?": ([dict], None)}, None),
        "optimizer?": (dict, None),
        "task?": (dict, None),
        "paper?": ({"name?": (str, None)}, None),
    },
    "class_names": [str],
    "data": {
        "corpus": str,
        "corpora": [
            {
                "name": str,
                "root": (str, None),
                "licence": str,
                "citation": str,
                "expressions": str,
                "pictures": bool,
                "published": bool,
                "rendered": bool,
            }
        ],
        "split": COUNTS,
        "frames?": int,
        "clips?": int,
        "subjects?": int,
        "image_size?": (int, None),
        "emotion_by_split?": {str: COUNTS},
    },
    "leakage": {
        "level": str,
        "subjects?": LEAKS,
        "clips?": LEAKS,
        "near_duplicates?": (LEAKS, None),
        "subjects_from?": (str, None),
        "doubts?": [str],
    },
    "metrics": {str: (*NUMBER, None)},
    "seconds": {"fit": NUMBER},
    "seed?": (int, None),
    "recall?": {str: (*NUMBER, None)},
    "precision?": {str: (*NUMBER, None)},
    "confusion?": [[int]],
    "warnings?": [str],
    "overrides?": [str],
    "versions?": ({str: str}, None),
    "git_revision?": (str, None),
    "epochs?": (int, None),
    "best_epoch?": (int, None),
    "best_score?": (*NUMBER, None),
    "history?": [{"epoch": int, "phase": str, "seconds": NUMBER, str: (*NUMBER, str, None)}],
    "parameters?": {"total": int},
    "weights?": ({str: (str, None)}, None),
    "device?": (str, None),
    "trainer_precision?": (str, None),
}
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    None: "null",
    dict: "an object",
    list: "a list",
}


def missing_entries(results: dict[str, Any]) -> list[str]:
    """Names of the entries that every ``results.json`` has and this one lacks."""
    return [name for name in RESULTS if not name.endswith("?") and name not in results]


def mistake(results: dict[str, Any]) -> str | None:
    """What is wrong with the first entry of another type than a run writes; None if nothing is.

    Args:
        results: of a ``results.json``, without :func:`missing_entries`.
    """
    wrong = next(_mismatches(results, RESULTS, ""), None)
    if wrong is not None:
        return wrong
    names = results["class_names"]
    if not names or "" in names or len(set(names)) < len(names):
        return f"class_names is {reprlib.repr(names)}: expected names that all differ"
    level = results["leakage"]["level"]
    if level not in set(LeakageLevel):
        return f"leakage.level is {reprlib.repr(level)}: expected {', '.join(LeakageLevel)}"
    confusion = results.get("confusion", [])
    if confusion and [len(row) for row in confusion] != [len(names)] * len(names):
        return f"confusion is not a table of {len(names)} x {len(names)} numbers"
    return next(_references(results["config"], "config"), None)


def _mismatches(value: Any, shape: Any, name: str) -> Iterator[str]:
    if isinstance(shape, tuple):
        found = [next(_mismatches(value, each, name), None) for each in shape]
        if None not in found:
            # A mismatch further inside says more than that the whole is of no listed type.
            kind = dict if isinstance(value, dict) else list if isinstance(value, list) else None
            inside = [each for each, form in zip(found, shape, strict=True) if kind and isinstance(form, kind)]
            yield str(inside[0]) if inside else _expected(value, shape, name)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield _expected(value, (list,), name)
            return
        for number, each in enumerate(value):
            yield from _mismatches(each, shape[0], f"{name}[{number}]")
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield _expected(value, (dict,), name)
            return
        prefix = f"{name}." if name else ""
        known = {key.rstrip("?"): form for key, form in shape.items() if key is not str}
        for key in shape:
            if key is not str and not key.endswith("?") and key not in value:
                yield f"{prefix}{key} is missing"
        for key, each in value.items():
            form = known.get(key, shape.get(str))
            if form is not None:
                yield from _mismatches(each, form, f"{prefix}{key}")
    elif shape is None:
        if value is not None:
            yield _expected(value, (None,), name)
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        yield _expected(value, (shape,), name)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{name} is {value}: expected a finite number"


def _expected(value: Any, shapes: tuple[Any, ...], name: str) -> str:
    kinds = [type(shape) if isinstance(shape, dict | list) else shape for shape in shapes]
    words = dict.fromkeys(WORDS[kind] for kind in kinds if kind is not int or float not in kinds)
    return f"{name} is {reprlib.repr(value)}: expected {' or '.join(words)}"


def _references(value: Any, name: str) -> Iterator[str]:
    """Values that OmegaConf would replace, such as by a variable of the environment."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _references(each, f"{name}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _references(each, f"{name}[{number}]")
    elif isinstance(value, str) and ("${" in value or value == "???"):
        yield f"{name} refers to {reprlib.repr(value)}: the configuration of a finished run has values only"
