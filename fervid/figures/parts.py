"""Figures of valence and arousal, and of action units."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from fervid.figures.drawing import GRAY, TRAIN, VAL, Figure, wrapped
from fervid.metrics.parts import part_scores
from fervid.schema.columns import DIMENSIONS
from fervid.schema.parts import AFFECT, Part

MAX_POINTS = 500  # more samples are drawn as a density


def affect_scatter(labels: np.ndarray, predictions: np.ndarray, title: str = "") -> Figure:
    """Draws predicted against labelled valence and arousal, and the predictions in the plane of both.

    Up to :data:`MAX_POINTS` samples are points, more are a density with a logarithmic scale. In the plane, the labels
    are gray.

    Args:
        labels: labels (N, 2) of valence and arousal; NaN where unknown.
        predictions: predictions (N, 2).
        title: title of the figure.
    """
    figure = Figure(figsize=(11.4, 4.2), layout="constrained")
    labels, predictions = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    *dimensions, plane = figure.subplots(1, 3)
    for number, (axes, name) in enumerate(zip(dimensions, DIMENSIONS, strict=True)):
        known = np.isfinite(labels[:, number])
        _samples(axes, labels[known, number], predictions[known, number])
        axes.plot([-1, 1], [-1, 1], color=GRAY, linestyle=":", linewidth=1)
        axes.set_title(name)
        axes.set_xlabel("label")
        axes.set_ylabel("predicted")
    known = np.isfinite(labels).all(axis=1)
    plane.scatter(*labels[known].T, s=9, color=GRAY, alpha=0.35, linewidths=0, label="labels")
    _samples(plane, predictions[:, 0], predictions[:, 1], "predictions")
    plane.add_artist(Circle((0, 0), 1, fill=False, color=GRAY, linewidth=0.5))
    plane.set_title("plane of valence and arousal")
    plane.set_xlabel("valence")
    plane.set_ylabel("arousal")
    plane.legend(loc="lower left", fontsize=8)
    for axes in (*dimensions, plane):
        axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axes.axhline(0, color=GRAY, linewidth=0.5)
        axes.axvline(0, color=GRAY, linewidth=0.5)
    figure.suptitle(wrapped(title, 110), fontsize=10)
    return figure


def unit_bars(
    names: Sequence[str],
    scores: Sequence[float],
    shares: Sequence[float],
    title: str = "",
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
) -> Figure:
    """Draws the F1 of each action unit as a bar, with the share of samples in which it is present.

    A detector that always reports the unit has an F1 of 2 p / (1 + p) for a share p, drawn as a mark.

    Args:
        names: names of U units.
        scores: F1 of each unit; NaN if unknown.
        shares: share of the samples in which each unit is present.
        title: title of the figure.
        low: lower limits of confidence intervals; None: no intervals.
        high: upper limits.
    """
    figure = Figure(figsize=(1.6 + 0.5 * len(names), 3.8), layout="constrained")
    axes = figure.subplots()
    places, values, present = np.arange(len(names)), np.asarray(scores, dtype=float), np.asarray(shares, dtype=float)
    axes.bar(places, np.nan_to_num(values), width=0.6, color=TRAIN, label="F1")
    if low is not None and high is not None:
        ends = np.array([low, high], dtype=float)
        middle, half = ends.mean(axis=0), np.diff(ends, axis=0)[0] / 2
        axes.errorbar(places, middle, yerr=half, fmt="none", ecolor=GRAY, capsize=2, label="95% interval")
    axes.plot(places, 2 * present / (1 + present), "_", color=VAL, markersize=13, label="always reported")
    axes.plot(places, present, ".", color="black", markersize=5, label="share of frames")
    axes.set_xticks(places, names, rotation=45, ha="right")
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(wrapped(title, 16 + 7 * len(names)), fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def draw_part(
    predictions: pd.DataFrame,
    part: Part,
    title: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Draws the predictions of valence and arousal, or the F1 of action units.

    Args:
        predictions: predictions table.
        part: the part.
        title: title of the figure.
        intervals: confidence intervals by the name of the score, such as ``f1_au_12``; None: none are drawn.
    """
    labels = predictions[part.labels].to_numpy(dtype=float)
    if part.name == AFFECT:
        return affect_scatter(labels, predictions[part.predictions].to_numpy(dtype=float), title)
    found, known = part_scores(predictions, part), np.isfinite(labels)
    shares = np.where(known, labels, 0).sum(axis=0) / np.maximum(1, known.sum(axis=0))
    names = [f"f1_{name}" for name in part.names]
    ends = [intervals[name] for name in names] if intervals else []
    low, high = zip(*ends, strict=True) if ends else (None, None)
    return unit_bars(part.titles, [found[name] for name in names], shares.tolist(), title, low, high)


def _samples(axes: Axes, x: np.ndarray, y: np.ndarray, label: str | None = None) -> None:
    """Draws samples as points, or as a density if there are many."""
    if len(x) <= MAX_POINTS:
        axes.scatter(x, y, s=9, color=TRAIN, alpha=0.5, linewidths=0, label=label)
    else:
        axes.hexbin(x, y, gridsize=40, extent=(-1, 1, -1, 1), bins="log", mincnt=1, cmap="Blues", label=label)
