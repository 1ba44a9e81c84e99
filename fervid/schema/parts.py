"""The parts of a task: what it predicts, and the columns of labels and predictions in the predictions table.

The tasks ``valence_arousal`` and ``action_units`` have one part, ``multi`` has several. ``results.json`` lists them in
its entry ``parts``: the names of each part by its name.
"""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fervid.schema.columns import ACTION_UNIT, DIMENSIONS, PREDICTED, PROBABILITY

if TYPE_CHECKING:
    import pandas as pd

EMOTION, AFFECT, UNITS = "emotion", "valence_arousal", "action_units"  # names of the parts
MULTI = "multi"  # name of the task with several parts
CLASSIFICATION = "classification"  # name of the task whose only part is the emotion
UNIT_COLUMN = re.compile(rf"{ACTION_UNIT}([1-9][0-9]?)")
PRESENT = 0.5  # smallest probability at which an action unit is predicted to be present


@dataclass(frozen=True)
class Part:
    """One part of a task.

    Attributes:
        name: ``emotion``, ``valence_arousal`` or ``action_units``.
        names: its outputs, in the order of the network's outputs: the classes; ``valence`` and ``arousal``; or the
            columns of the action units, such as ``au_12``.
    """

    name: str
    names: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """Columns with the labels: ``label`` for the emotion, otherwise one for each name; empty cells are unknown."""
        return ["label"] if self.name == EMOTION else list(self.names)

    @property
    def predictions(self) -> list[str]:
        """Columns with the predictions: ``prob_<class>``, ``predicted_<dimension>`` or ``prob_au_<number>``."""
        prefix = PREDICTED if self.name == AFFECT else PROBABILITY
        return [f"{prefix}{name}" for name in self.names]

    @property
    def titles(self) -> list[str]:
        """The names for people to read, such as ``AU12``."""
        return [unit_title(name) if self.name == UNITS else name for name in self.names]


def unit_title(column: str) -> str:
    """Returns the usual name of an action unit.

    Args:
        column: its column.

    Examples:
        >>> unit_title("au_12")
        'AU12'
    """
    return f"AU{column.removeprefix(ACTION_UNIT)}"


def parts_of(results: Mapping[str, Any]) -> list[Part]:
    """Returns the parts of the task of a run; empty for a task of your own.

    Args:
        results: content of ``results.json``.
    """
    if results["task"] == CLASSIFICATION:
        return [Part(EMOTION, tuple(results["class_names"]))]
    return [Part(name, tuple(names)) for name, names in results.get("parts", {}).items()]


def as_entry(parts: Sequence[Part]) -> dict[str, list[str]]:
    """Returns the entry ``parts`` of ``results.json``."""
    return {part.name: list(part.names) for part in parts}


def mistake(results: Mapping[str, Any]) -> str | None:
    """Describes what is wrong with the entry ``parts`` of a record, for tasks that need it; None if nothing is."""
    parts = results.get("parts")
    if parts is None and results["task"] not in (AFFECT, UNITS, MULTI):
        return None
    expected = f"parts is {reprlib.repr(parts)}: expected"
    if not isinstance(parts, dict) or not parts:
        return f"{expected} an object with the names of each part"
    for name, names in parts.items():
        if not isinstance(names, list) or not names or not all(isinstance(each, str) and each for each in names):
            return f"{expected} names of {reprlib.repr(name)}"
        if len(set(names)) < len(names):
            return f"{expected} distinct names of {reprlib.repr(name)}"
        if name == AFFECT and names != list(DIMENSIONS):
            return f"{expected} {' and '.join(DIMENSIONS)} of {AFFECT}"
        if name == UNITS and not all(UNIT_COLUMN.fullmatch(each) for each in names):
            return f"{expected} columns such as {ACTION_UNIT}12 of {UNITS}"
        if name == EMOTION and names != results.get("class_names"):
            return f"{expected} the class_names of {EMOTION}"
        if name not in (EMOTION, AFFECT, UNITS):
            return f"{expected} {EMOTION}, {AFFECT} or {UNITS}"
    if results["task"] in (AFFECT, UNITS) and list(parts) != [results["task"]]:
        return f"{expected} only {results['task']}"
    return None


def table_mistake(table: "pd.DataFrame", parts: Sequence[Part]) -> str | None:
    """Describes the first column of a predictions table that does not fit the parts other than the emotion.

    Args:
        table: predictions table.
        parts: the parts that were predicted.
    """
    from pandas.api.types import is_numeric_dtype  # not at the top: --help does not need pandas

    for part in parts:
        if part.name == EMOTION:
            continue
        missing = [name for name in [*part.labels, *part.predictions] if name not in table]
        if missing:
            return f"it has no column {', '.join(missing)}"
        numbers = table[[*part.labels, *part.predictions]]
        if text := [name for name in numbers if not is_numeric_dtype(numbers[name])]:
            return f"its column {text[0]} has values that are not numbers"
        if table[part.predictions].isna().any(axis=None):
            return "it has empty cells and may be truncated"
        low = -1 if part.name == AFFECT else 0
        outside = ((numbers < low - 1e-6) | (numbers > 1 + 1e-6)).any()
        if outside.any():
            return f"its column {outside.idxmax()} has values outside {low} to 1"
        if part.name == UNITS and not numbers[part.labels].isin([0, 1]).where(numbers[part.labels].notna(), True).all(
            axis=None
        ):
            return f"its columns {ACTION_UNIT}... have labels other than 0 and 1"
    return None
