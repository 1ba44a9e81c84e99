"""Scores of systems: intervals, people, reliability."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.figures.drawing import GRAY, TRAIN, VAL, Figure, wrapped
from fervid.schema.leakage_levels import LeakageLevel


def score_intervals(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    levels: Sequence[str],
    chance: float | None = None,
) -> Figure:
    """Scores of systems with their intervals, one below the other, coloured by what their splits leak.

    Args:
        names: N systems.
        values: N scores from 0 to 1.
        low: N lower ends of the intervals; NaN where there is none.
        high: N upper ends.
        levels: N labels of :class:`fervid.schema.leakage_levels.LeakageLevel`, or several of them joined.
        chance: a score that guessing reaches; drawn as a line.
    """
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    colours = {str(level): level.colour for level in LeakageLevel}
    for level in dict.fromkeys(levels):
        chosen = [number for number, own in enumerate(levels) if own == level]
        ends = np.array([np.array(low)[chosen], np.array(high)[chosen]])
        colour = colours.get(level, GRAY)
        axes.plot(np.array(values)[chosen], places[chosen], "o", color=colour, label=level)
        # From end to end: a mean over folds may lie outside the interval of all their frames.
        middle, half = ends.mean(axis=0), np.diff(ends, axis=0)[0] / 2
        axes.errorbar(middle, places[chosen], xerr=half, fmt="none", ecolor=colour, capsize=3)
    if chance is not None:
        axes.axvline(chance, color=GRAY, linestyle=":", label="chance")
    axes.set_yticks(places, [wrapped(name, 44) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("UAR on test frames, 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    return figure


def subject_scores(names: Sequence[str], scores: Sequence[Sequence[float]]) -> Figure:
    """How differently a system does on different people: one dot a person, a bar at their mean.

    Args:
        names: N systems.
        scores: for each system the score of each person, from 0 to 1.
    """
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    spread = np.random.default_rng(0)
    for place, people in zip(places, scores, strict=True):
        axes.scatter(people, place + spread.uniform(-0.15, 0.15, len(people)), s=14, color=TRAIN, alpha=0.6)
        axes.plot([np.mean(people)] * 2, [place - 0.3, place + 0.3], color=VAL)
    axes.set_yticks(places, [wrapped(name, 44) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("share of a person's test frames that is right (WAR)")
    axes.grid(axis="x", alpha=0.3)
    return figure


def reliability_diagram(before: pd.DataFrame, after: pd.DataFrame, title: str = "") -> Figure:
    """How often a network is right when it is so sure; on the diagonal it can be believed.

    Args:
        before: of :func:`fervid.metrics.calibration.reliability`.
        after: the same with a fitted temperature.
        title: above the picture.
    """
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for table, colour, label in ((before, VAL, "as trained"), (after, TRAIN, "temperature fitted")):
        sizes = 150 * table["frames"] / table["frames"].sum() + 8
        axes.plot(table["confidence"], table["accuracy"], color=colour, linewidth=1, label=label)
        axes.scatter(table["confidence"], table["accuracy"], s=sizes, color=colour, alpha=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence (mean of the bin)")
    axes.set_ylabel("share that is right")
    axes.set_title(wrapped(title, 44), fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    return figure
