"""Figures, as functions that return a matplotlib Figure: for run folders, TensorBoard, reports and notebooks alike."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib import figure as matplotlib_figure
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from fervid.metrics.scores import scores
from fervid.schema.atomic import writing
from fervid.schema.leakage_levels import LeakageLevel

TRAIN, VAL, GREY = "#0072b2", "#d55e00", "#777777"  # told apart by colour-blind readers too

# Tol's muted scheme, which colour-blind readers tell apart, too; one an emotion, in the order of the classes.
EMOTION_COLOURS = (
    "#cc6677",
    "#332288",
    "#ddcc77",
    "#117733",
    "#88ccee",
    "#882255",
    "#44aa99",
    "#999933",
    "#aa4499",
    "#bbbbbb",
)
MAX_CLASSES = 30  # emotions that a figure names or shows one by one: each more takes time to draw, and none to read
MOST_COVER = 0.6  # how much of a face the hottest spot of a heat map hides
MAX_NAME = 40  # characters of a class name in a figure


class Figure(matplotlib_figure.Figure):
    """A figure whose texts are drawn as they are: class and subject names may hold ``$``, which starts a formula."""

    def draw(self, renderer: RendererBase) -> None:
        # Here and not where texts are made: no text of any figure is missed, in whatever format it is drawn.
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)


def save(figure: matplotlib_figure.Figure, path: Path, dpi: int = 110) -> Path:
    """Draws a figure once (``savefig`` goes through it twice) and writes it.

    Args:
        figure: any.
        path: the PNG file to write.
        dpi: pixels an inch.

    Returns:
        The file.
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    with writing(path) as partial:
        picture.save(partial, dpi=(dpi, dpi), compress_level=1)  # a quarter of the time for a tenth more bytes
    return path


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

    With more than :data:`MAX_CLASSES` emotions there are shades alone, and not all emotions are named.

    Args:
        confusion: counts (num_classes, num_classes), a row a true emotion.
        class_names: the emotions.
        title: above the picture.
    """
    counts = np.asarray(confusion)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
    size = 2.2 + 0.8 * min(len(class_names), MAX_CLASSES)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(counts.shape) if len(class_names) <= MAX_CLASSES else ():
        if counts[true, predicted]:
            dark = shares[true, predicted] > 0.55
            colour = "white" if dark else "black"
            axes.text(predicted, true - 0.1, f"{shares[true, predicted]:.0%}", ha="center", va="center", color=colour)
            count = int(counts[true, predicted])
            axes.text(predicted, true + 0.27, str(count), ha="center", va="center", color=colour, fontsize=7)
    names = [_short(name) for name in class_names]
    labels = [
        f"{name} ({recall:.0%})" if np.isfinite(recall) else name
        for name, recall in zip(names, scores(counts).recall, strict=True)
    ]
    step = -(-len(names) // MAX_CLASSES)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=45, ha="right")
    axes.set_yticks(range(0, len(names), step), labels[::step])
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
    wide, high, side = 1.5, 1.95, 1.41  # inches: of a place, and of the face in it, below two lines of text
    figure = Figure(figsize=(wide * columns, high * rows))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: an axes for each face takes half a second
    axes.axis("off")
    for number, (face, is_, said, sure) in enumerate(zip(faces, true, predicted, confidence, strict=True)):
        middle, bottom = wide * (number % columns + 0.5), high * (number // columns + 1) - 0.05
        axes.imshow(face, extent=(middle - side / 2, middle + side / 2, bottom, bottom - side))
        right = is_ == said
        text = f"{_short(said, 18)} {sure:.0%}" + ("" if right else f"\nis {_short(is_, 18)}")
        colour = "#117733" if right else "#aa0000"
        axes.text(middle, bottom - side - 0.06, text, ha="center", va="bottom", fontsize=8, color=colour)
    axes.set(xlim=(0, wide * columns), ylim=(high * rows, 0))
    return figure


def contact_sheet(faces: np.ndarray, emotions: Sequence[str], columns: int = 10, left_out: int = 0) -> Figure:
    """Faces of a corpus, one row an emotion.

    Args:
        faces: uint8 (N, H, W, 3) RGB.
        emotions: N emotions; of each of the first :data:`MAX_CLASSES` the first ``columns`` faces are shown.
        columns: faces in a row.
        left_out: emotions that are not among these already.
    """
    every = sorted(set(emotions))
    names = every[:MAX_CLASSES]
    left_out += len(every) - len(names)
    figure = Figure(figsize=(1.1 * columns + 0.6, 1.15 * len(names)), layout="constrained")
    if left_out:
        figure.supxlabel(_not_shown(left_out))
    height, width = faces.shape[1:3]
    gap = width // 16
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
        axes.set_ylabel(_short(name, 18))
        # One picture a row: an axes for each face would take a second to draw.
        row = np.full((height, columns * (width + gap) - gap, 3), 255, np.uint8)
        shown = [face for face, emotion in zip(faces, emotions, strict=True) if emotion == name][:columns]
        for place, face in enumerate(shown):
            row[:, place * (width + gap) : place * (width + gap) + width] = face
        axes.imshow(row)
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
        colour = colours.get(level, GREY)
        axes.plot(np.array(values)[chosen], places[chosen], "o", color=colour, label=level)
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
        before: of :func:`fervid.metrics.calibration.reliability`.
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


def timeline(table: pd.DataFrame, class_names: Sequence[str], times: Sequence[float], title: str = "") -> Figure:
    """The probabilities of the emotions over a video, one panel a person: the four that were seen most.

    The height of a colour is the emotion's probability; where a person was out of sight for longer than a frame,
    nothing is drawn. Who was seen in a single frame of several is left out: often no person at all.

    Args:
        table: of :func:`fervid.predict.records.records`, one row a face; ``time``, ``person`` and ``p_<emotion>``
            are used.
        class_names: the emotions.
        times: seconds of all frames that were looked at, with a face or without.
        title: above the picture.
    """
    frames = len(times)
    seen = table["person"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    seen = seen[seen >= min(2, frames)]
    shown = seen.index[:4]
    figure = Figure(figsize=(11, 1.4 + 1.7 * max(1, len(shown))), layout="constrained")
    figure.suptitle(_broken(title, 100))
    panels = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    step = float(np.median(np.diff(times))) if frames > 1 else 1.0
    columns = [f"p_{name}" for name in class_names]
    if len(columns) > MAX_CLASSES:  # the most probable ones
        columns = table[columns].mean().nlargest(len(EMOTION_COLOURS)).index.tolist()
    names = [column.removeprefix("p_") for column in columns]
    colours = [EMOTION_COLOURS[number % len(EMOTION_COLOURS)] for number in range(len(names))]
    for axes, person in zip(panels, shown, strict=False):
        own = table[table["person"] == person].sort_values("time")
        middles, chances = own["time"].to_numpy(), own[columns].to_numpy()
        # A frame stands for the time around it, up to its neighbours or half a step where there is none.
        half = np.diff(middles) / 2
        half[half > 1.25 * step] = step / 2
        starts, ends = middles - np.append(step / 2, half), middles + np.append(half, step / 2)
        x = np.column_stack([starts, ends, ends]).ravel()
        breaks = np.append(starts[1:] - ends[:-1] > 1e-6, True)
        heights = np.repeat(chances, 3, axis=0)
        heights[2::3][breaks] = np.nan
        labels = [_short(name) for name in names]
        axes.stackplot(x, heights.T, labels=labels, colors=colours, linewidth=0)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_title(f"person {person:.0f}, seen in {len(own)} of {frames} frames", loc="left", fontsize=10)
        axes.set_ylabel("probability")
    if frames:
        panels[-1].set_xlim(min(0.0, times[0]) - step / 2, times[-1] + step / 2)
    panels[-1].set_xlabel("time in seconds" + (f"; {len(seen) - 4} more people not shown" if len(seen) > 4 else ""))
    if len(shown):
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    else:
        panels[0].text(0.5, 0.5, "no face was found", ha="center", va="center", transform=panels[0].transAxes)
    return figure


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a heat map over a face, which is made grey: all colour is heat.

    Args:
        picture: uint8 (S, S, 3) RGB.
        heat: (S, S) in [0, 1].

    Returns:
        uint8 (S, S, 3) RGB.
    """
    heat = np.clip(heat, 0, 1)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colour = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_TURBO)[..., ::-1]  # type: ignore[call-overload]
    cover = MOST_COVER * heat[..., None] ** 0.7
    return np.uint8(np.rint((1 - cover) * grey + cover * colour))  # type: ignore[return-value]


def explained_faces(
    views: Sequence[Sequence[np.ndarray]], captions: Sequence[Sequence[str]], headings: Sequence[str], columns: int = 2
) -> Figure:
    """Faces, each beside its heat maps and under its heading.

    Args:
        views: for each of N faces itself and its heat maps laid over it, uint8 (S, S, 3) RGB each.
        captions: what to say under each of these.
        headings: N texts.
        columns: faces in a row.
    """
    wide = max(map(len, views))
    columns = max(1, min(columns, len(views)))
    rows = -(-len(views) // columns)
    figure = Figure(figsize=(columns * (1.65 * wide + 0.3), 2.25 * rows), layout="constrained")
    places = figure.subfigures(rows, columns, squeeze=False, wspace=0.03).flat
    for place, own, texts, heading in zip(places, views, captions, headings, strict=False):
        place.suptitle(textwrap.shorten(heading, 16 * wide, placeholder="..."), fontsize=9, fontweight="bold")
        for number, axes in enumerate(place.subplots(1, wide)):
            axes.set_anchor("N")
            if number >= len(own):
                axes.axis("off")
                continue
            axes.imshow(own[number])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(texts[number], fontsize=8)
    return figure


def mean_heat_maps(
    faces: np.ndarray, shown: np.ndarray, emotions: Sequence[str], captions: Sequence[str], title: str = ""
) -> Figure:
    """Mean faces and, below, what is looked at in them.

    Args:
        faces: one an emotion, uint8 (K, S, S, 3) RGB; of more than :data:`MAX_CLASSES` the first are shown.
        shown: the same with their heat maps, uint8 (K, S, S, 3) RGB.
        emotions: K names.
        captions: K texts, to stand below.
        title: above all.
    """
    if len(emotions) > MAX_CLASSES:
        title = f"{title} ({_not_shown(len(emotions) - MAX_CLASSES)})".lstrip()
        faces, shown = faces[:MAX_CLASSES], shown[:MAX_CLASSES]
        emotions, captions = emotions[:MAX_CLASSES], captions[:MAX_CLASSES]
    figure = Figure(figsize=(1.5 * len(emotions) + 0.4, 3.6 + 0.3 * bool(title)), layout="constrained")
    figure.suptitle(_broken(title, 16 * len(emotions)), fontsize=10)
    grid = figure.subplots(2, len(emotions), squeeze=False)
    for column, emotion, caption, *pictures in zip(grid.T, emotions, captions, faces, shown, strict=True):
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
        column[0].set_title(_short(emotion, 18), fontsize=9)
        column[1].set_xlabel(caption, fontsize=8)
    grid[0, 0].set_ylabel("mean face", fontsize=8)
    grid[1, 0].set_ylabel("mean heat map", fontsize=8)
    return figure


def _not_shown(count: int) -> str:
    return f"{count} more emotions not shown"


def _broken(line: str, width: int = 26) -> str:
    return textwrap.fill(line, width=width)


def _short(name: str, length: int = MAX_NAME) -> str:
    """A name that leaves room for the figure it stands in."""
    return name if len(name) <= length else f"{name[: length - 3]}..."
