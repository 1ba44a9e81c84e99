"""Figures of scores: confidence intervals, subjects, reliability and abstention."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.figures.drawing import EMOTION_COLOURS, GRAY, TRAIN, VAL, Figure, wrapped
from fervid.schema.leakage_levels import LeakageLevel


def score_intervals(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    levels: Sequence[str],
    chance: float | None = None,
    *,
    score: str = "UAR",
    share: bool = True,
) -> Figure:
    """Draws scores with confidence intervals, one row per system, coloured by leakage level.

    Args:
        names: names of N systems.
        values: n scores of at most 1.
        low: n lower limits of the intervals; NaN where there is none.
        high: n upper limits.
        levels: n labels of :class:`fervid.schema.leakage_levels.LeakageLevel`, or several of them joined.
        chance: chance level, drawn as a line.
        score: title of the score.
        share: whether the score is shown in percent, from 0.
    """
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    colours = {str(level): level.colour for level in LeakageLevel}
    for level in dict.fromkeys(levels):
        chosen = [number for number, other in enumerate(levels) if other == level]
        ends = np.array([np.array(low)[chosen], np.array(high)[chosen]])
        colour = colours.get(level, GRAY)
        axes.plot(np.array(values)[chosen], places[chosen], "o", color=colour, label=level)
        # Not centred on the score: a mean over folds may lie outside the interval over all frames.
        middle, half = ends.mean(axis=0), np.diff(ends, axis=0)[0] / 2
        axes.errorbar(middle, places[chosen], xerr=half, fmt="none", ecolor=colour, capsize=3)
    if chance is not None:
        axes.axvline(chance, color=GRAY, linestyle=":", label="chance level")
    axes.set_yticks(places, [wrapped(name, 44) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(0 if share else min(0, np.nanmin([*values, *low])) - 0.02, 1)
    if share:
        axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel(f"{score} on test frames with 95% interval")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    return figure


def subject_scores(names: Sequence[str], scores: Sequence[Sequence[float]]) -> Figure:
    """Draws the score of each subject as a dot, with a bar at the mean of each system.

    Args:
        names: names of N systems.
        scores: for each system, the scores of its subjects from 0 to 1.
    """
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    spread = np.random.default_rng(0)
    for place, values in zip(places, scores, strict=True):
        axes.scatter(values, place + spread.uniform(-0.15, 0.15, len(values)), s=14, color=TRAIN, alpha=0.6)
        axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=VAL)
    axes.set_yticks(places, [wrapped(name, 44) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("accuracy (WAR) on the test frames of each subject")
    axes.grid(axis="x", alpha=0.3)
    return figure


def reliability_diagram(before: pd.DataFrame, after: pd.DataFrame, title: str = "") -> Figure:
    """Draws accuracy over confidence; the diagonal is perfect calibration.

    Args:
        before: table from :func:`fervid.metrics.calibration.reliability`.
        after: the same after temperature scaling.
        title: title of the figure.
    """
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for table, colour, label in ((before, VAL, "uncalibrated"), (after, TRAIN, "temperature-scaled")):
        sizes = 150 * table["frames"] / table["frames"].sum() + 8
        axes.plot(table["confidence"], table["accuracy"], color=colour, linewidth=1, label=label)
        axes.scatter(table["confidence"], table["accuracy"], s=sizes, color=colour, alpha=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("mean confidence of the bin")
    axes.set_ylabel("accuracy")
    axes.set_title(wrapped(title, 44), fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    return figure


def risk_coverage(names: Sequence[str], curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draws the fraction of wrong answers over the fraction of answered samples.

    Args:
        names: names of N systems.
        curves: coverage and risk of each system, from :func:`fervid.metrics.selective.risk_coverage`.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, (coverage, risk)) in enumerate(zip(names, curves, strict=True)):
        style = ("-", "--")[number // len(EMOTION_COLOURS) % 2]
        colour = EMOTION_COLOURS[number % len(EMOTION_COLOURS)]
        axes.plot(coverage, risk, style, color=colour, linewidth=1.5, label=wrapped(name, 36), drawstyle="steps-pre")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, None)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("coverage: fraction of answered test samples, the most confident first")
    axes.set_ylabel("risk: wrong answers")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
