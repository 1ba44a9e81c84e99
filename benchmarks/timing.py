"""Shared parts of the benchmarks: alternating measurements, ratios with their spread, one printed line per figure."""

import json
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it queries the network when imported


def by_turns(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measures all alternatives alternately, in reversed order in every second repeat.

    If the machine slows down during the measurement, all alternatives are affected.

    Args:
        sides: functions by name that do their work once and return the seconds.
        repeats: number of repeats.

    Returns:
        The seconds of each alternative, one number per repeat.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides)[:: 1 if repeat % 2 == 0 else -1]:
            seconds[name].append(sides[name]())
    return seconds


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Returns the ratios of two alternatives, one per repeat."""
    return [a / b for a, b in zip(over, under, strict=True)]


@dataclass(frozen=True)
class Figure:
    """A measured figure, one line of the table.

    Attributes:
        row: the benchmark: ``start``, ``training step``, ``frozen phase``, ...
        what: the two alternatives, such as "fervid / bare step, VGG16 at 90 px", or the measured quantity.
        values: one number per repeat.
        goal: ``<= 1.05`` or ``>= 30``; empty if there is no goal.
        unit: ``x`` for ratios, otherwise ``s``, ``MiB``, ``images/s``, ...
        note: details for interpretation: seconds of both alternatives, accuracies.
    """

    row: str
    what: str
    values: list[float]
    goal: str = ""
    unit: str = "x"
    note: str = ""

    @property
    def median(self) -> float:
        """Median over the repeats."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None if there is no goal."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.median <= float(bound) if sign == "<=" else self.median >= float(bound)

    def cells(self) -> list[str]:
        """Returns the cells of the table: row, what, median, spread, goal, whether it is met, note."""
        spread = f"{_number(min(self.values))} to {_number(max(self.values))}" if len(self.values) > 1 else ""
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        return [self.row, self.what, f"{_number(self.median)} {self.unit}", spread, self.goal, verdict, self.note]


def print_figures(*figures: Figure) -> None:
    """Prints one line per figure; if ``FERVID_FIGURES`` names a file, also appends the figures to it."""
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
