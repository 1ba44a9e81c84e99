"""What the benchmarks share: sides measured by turns, ratios with their spread, one line a figure."""

import json
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network when it is imported


def by_turns(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measures all sides ``repeats`` times, in turn, every other time the other way round.

    A machine that slows down in the middle slows all of them.

    Args:
        sides: by name, each does its work once and returns its seconds.
        repeats: how often.

    Returns:
        The seconds of each side, one number a repeat.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides)[:: 1 if repeat % 2 == 0 else -1]:
            seconds[name].append(sides[name]())
    return seconds


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Ratios of two sides, repeat by repeat."""
    return [a / b for a, b in zip(over, under, strict=True)]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        row: what it belongs to: ``start``, ``training step``, ``frozen phase``, ...
        what: the two sides, "fervid / bare step, VGG16 at 90 px", or what was measured.
        values: one number a repeat.
        goal: ``<= 1.05`` or ``>= 30``; empty where there is none.
        unit: ``x`` for ratios, else ``s``, ``MiB``, ``images/s``, ...
        note: what a reader must know to believe it: seconds of both sides, accuracies.
    """

    row: str
    what: str
    values: list[float]
    goal: str = ""
    unit: str = "x"
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the repeats."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is none."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.median <= float(bound) if sign == "<=" else self.median >= float(bound)

    def cells(self) -> list[str]:
        """The figure as words: row, what, median, spread, goal, whether it is met, note."""
        spread = f"{_number(min(self.values))} to {_number(max(self.values))}" if len(self.values) > 1 else ""
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        return [self.row, self.what, f"{_number(self.median)} {self.unit}", spread, self.goal, verdict, self.note]


def tell(*figures: Figure) -> None:
    """Prints a line a figure; where ``FERVID_FIGURES`` names a file they are added to it, for the table of all."""
    for figure in figures:
        row, what, median, spread, goal, verdict, note = figure.cells()
        aside = [
            f"({spread}, {len(figure.values)} repeats)" if spread else "",
            f"goal {goal}: {verdict}" if goal else "",
        ]
        print(f"{row}: {what}: {median}", *filter(None, [*aside, note]), flush=True)
        if "FERVID_FIGURES" in os.environ:
            with Path(os.environ["FERVID_FIGURES"]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(figure)) + "\n")


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
