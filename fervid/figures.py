"""Figures, as functions that return a matplotlib Figure: for run folders, TensorBoard, reports and notebooks alike."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fervid.metrics import recalls

TRAIN, VAL, GREY = "#0072b2", "#d55e00", "#777777"  # told apart by colour-blind readers too
GRADE_COLOURS = {
    "subject-independent": TRAIN,
    "people unknown": "#56b4e9",
    "clip-independent": "#e69f00",
    "leaky": VAL,
}


def curves(history: Sequence[dict[str, Any]], best_epoch: int | None = None) -> Figure:
    """Loss, accuracy and UAR of training and validation over the epochs, phases parted by a line.

    Args:
        history: one dict an epoch with ``epoch``, ``phase``, ``train/loss``, ``val/loss`` and so on.
        best_epoch: epoch (from 0) whose weights were kept; marked.
    """
    table = pd.DataFrame(history)
    epochs = table["epoch"] + 1
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 3), ("loss", "accuracy", "uar"), strict=True):
        for side, colour in (("train", TRAIN), ("val", VAL)):
            if f"{side}/{metric}" in table:
                axes.plot(epochs, table[f"{side}/{metric}"], color=colour, label=side, marker="o", markersize=3)
        starts = table.index[table["phase"] != table["phase"].shift()]
        for start in starts:
            if start:
                axes.axvline(epochs[start] - 0.5, color=GREY, linestyle="--", linewidth=1)
            if len(starts) > 1:
                axes.text(
                    epochs[start] - 0.4, 1.01, table["phase"][start], transform=axes.get_xaxis_transform(), color=GREY
                )
        if best_epoch is not None:
            axes.axvline(best_epoch + 1, color=VAL, linestyle=":", linewidth=1, label="kept")
        axes.set_title({"loss": "Loss", "accuracy": "Accuracy (WAR)", "uar": "UAR"}[metric], pad=18)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if metric != "loss":
            axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def confusion_matrix(confusion: np.ndarray, class_names: Sequence[str], title: str = "") -> Figure:
    """A confusion matrix: shade and large number are the share of the true emotion, the small number is the count.

    Args:
        confusion: counts (num_classes, num_classes), a row a true emotion.
        class_names: the emotions.
        title: above the picture.
    """
    counts = np.asarray(confusion)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
    size = 2.2 + 0.8 * len(class_names)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(counts.shape):
        if counts[true, predicted]:
            dark = shares[true, predicted] > 0.55
            colour = "white" if dark else "black"
            axes.text(predicted, true - 0.1, f"{shares[true, predicted]:.0%}", ha="center", va="center", color=colour)
            count = int(counts[true, predicted])
            axes.text(predicted, true + 0.27, str(count), ha="center", va="center", color=colour, fontsize=7)
    labels = [
        f"{name} ({recall:.0%})" if np.isfinite(recall) else name
        for name, recall in zip(class_names, recalls(counts), strict=True)
    ]
    axes.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right")
    axes.set_yticks(range(len(class_names)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (recall)")
    axes.set_title(title)
    figure.colorbar(image, shrink=0.7, format="{x:.0%}")
    return figure


def sample_predictions(
    faces: np.ndarray, true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float], columns: int = 8
) -> Figure:
    """A grid of faces, each with what was predicted, how surely, and what it is if that was wrong.

    Args:
        faces: uint8 (N, H, W, 3) RGB.
        true: N emotions.
        predicted: N emotions.
        confidence: N probabilities of the predicted emotion.
        columns: faces in a row.
    """
    rows = max(1, -(-len(faces) // columns))
    figure = Figure(figsize=(1.5 * columns, 1.95 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, face, is_, said, sure in zip(grid.flat, faces, true, predicted, confidence, strict=False):
        axes.imshow(face)
        right = is_ == said
        text = f"{said} {sure:.0%}" + ("" if right else f"\nis {is_}")
        axes.set_title(text, fontsize=8, color="#117733" if right else "#aa0000")
    return figure


def contact_sheet(faces: np.ndarray, emotions: Sequence[str], columns: int = 10) -> Figure:
    """Faces of a corpus, one row an emotion.

    Args:
        faces: uint8 (N, H, W, 3) RGB.
        emotions: N emotions; of each the first ``columns`` faces are shown.
        columns: faces in a row.
    """
    names = sorted(set(emotions))
    figure = Figure(figsize=(1.1 * columns + 0.6, 1.15 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), columns, squeeze=False)
    by_name = {name: [face for face, emotion in zip(faces, emotions, strict=True) if emotion == name] for name in names}
    for line, name in zip(grid, names, strict=True):
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_frame_on(False)
        for axes, face in zip(line, by_name[name], strict=False):
            axes.imshow(face)
        line[0].set_ylabel(name)
    return figure


def pairs(
    faces_a: np.ndarray,
    faces_b: np.ndarray,
    titles_a: Sequence[str],
    titles_b: Sequence[str],
    headings: Sequence[str],
    title: str = "",
    columns: int = 2,
) -> Figure:
    """Pairs of faces side by side, each pair under its heading, such as those that stand on two sides of a split.

    Args:
        faces_a: uint8 (N, H, W, 3) RGB, the left ones.
        faces_b: uint8 (N, H, W, 3) RGB, the right ones.
        titles_a: N texts of one or more lines, to stand under the left faces; long lines are broken.
        titles_b: N texts, to stand under the right faces.
        headings: N texts, one above each pair.
        title: above all.
        columns: pairs in a row.
    """
    columns = max(1, min(columns, len(faces_a)))
    rows = max(1, -(-len(faces_a) // columns))
    under_a, under_b = (
        ["\n".join(map(_broken, text.splitlines())) for text in texts] for texts in (titles_a, titles_b)
    )
    lines = max((text.count("\n") + 1 for text in [*under_a, *under_b]), default=0)
    # In inches: a face and a heading, and the lines of text under the face that has most of them.
    figure = Figure(figsize=(3.8 * columns, 0.4 + rows * (2.3 + 0.14 * lines)), layout="constrained")
    figure.suptitle(title)
    places = figure.subfigures(rows, columns, squeeze=False).flat
    for place, *halves, heading in zip(
        places, zip(faces_a, under_a, strict=True), zip(faces_b, under_b, strict=True), headings, strict=False
    ):
        place.suptitle(heading, fontsize=9, fontweight="bold")
        for axes, (face, text) in zip(place.subplots(1, 2), halves, strict=True):
            axes.imshow(face)
            axes.set_anchor("N")  # room to spare belongs below the texts, not between a heading and its faces
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(text, fontsize=8)
    return figure


def score_intervals(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    grades: Sequence[str],
    chance: float | None = None,
) -> Figure:
    """Scores of systems with their intervals, one below the other, coloured by what their splits leak.

    Args:
        names: N systems.
        values: N scores from 0 to 1.
        low: N lower ends of the intervals; NaN where there is none.
        high: N upper ends.
        grades: N leakage grades.
        chance: a score that guessing reaches; drawn as a line.
    """
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    for grade in dict.fromkeys(grades):
        chosen = [number for number, own in enumerate(grades) if own == grade]
        ends = np.array([np.array(low)[chosen], np.array(high)[chosen]])
        colour = GRADE_COLOURS.get(grade, GREY)
        axes.plot(np.array(values)[chosen], places[chosen], "o", color=colour, label=grade)
        # From end to end: a mean over folds may lie outside the interval of all their frames.
        middle, half = ends.mean(axis=0), np.diff(ends, axis=0)[0] / 2
        axes.errorbar(middle, places[chosen], xerr=half, fmt="none", ecolor=colour, capsize=3)
    if chance is not None:
        axes.axvline(chance, color=GREY, linestyle=":", label="chance")
    axes.set_yticks(places, [_broken(name, 44) for name in names])
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
    axes.set_yticks(places, [_broken(name, 44) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("share of a person's test frames that is right (WAR)")
    axes.grid(axis="x", alpha=0.3)
    return figure


def reliability_diagram(before: pd.DataFrame, after: pd.DataFrame, title: str = "") -> Figure:
    """How often a network is right when it is so sure; on the diagonal it can be believed.

    Args:
        before: of :func:`fervid.evaluation.calibration.reliability`.
        after: the same with a fitted temperature.
        title: above the picture.
    """
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for table, colour, label in ((before, VAL, "as trained"), (after, TRAIN, "temperature fitted")):
        sizes = 150 * table["frames"] / table["frames"].sum() + 8
        axes.plot(table["confidence"], table["accuracy"], color=colour, linewidth=1, label=label)
        axes.scatter(table["confidence"], table["accuracy"], s=sizes, color=colour, alpha=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence (mean of the bin)")
    axes.set_ylabel("share that is right")
    axes.set_title(_broken(title, 44), fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    return figure


def _broken(line: str, width: int = 26) -> str:
    return textwrap.fill(line, width=width)
