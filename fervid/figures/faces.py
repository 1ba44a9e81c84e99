"""Figures of faces: predictions, contact sheets and pairs of near-duplicates."""

from collections.abc import Sequence

import numpy as np

from fervid.figures.drawing import MAX_CLASSES, Figure, not_shown, shortened, wrapped


def sample_predictions(
    faces: np.ndarray, true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float], columns: int = 8
) -> Figure:
    """Draws a grid of faces, each with prediction and confidence, and with its label if the prediction is wrong.

    Args:
        faces: uint8 (N, H, W, 3) RGB.
        true: n labels.
        predicted: n predicted emotions.
        confidence: n probabilities of the predicted emotion.
        columns: number of faces per row.
    """
    rows = max(1, -(-len(faces) // columns))
    wide, high, side = 1.5, 1.95, 1.41  # in inches: cell width and height, and side of the face below two lines of text
    figure = Figure(figsize=(wide * columns, high * rows))
    axes = figure.add_axes((0, 0, 1, 1))  # a single axes: one per face would take half a second
    axes.axis("off")
    for number, (face, label, prediction, probability) in enumerate(
        zip(faces, true, predicted, confidence, strict=True)
    ):
        middle, bottom = wide * (number % columns + 0.5), high * (number // columns + 1) - 0.05
        axes.imshow(face, extent=(middle - side / 2, middle + side / 2, bottom, bottom - side))
        is_correct = label == prediction
        text = f"{shortened(prediction, 18)} {probability:.0%}" + (
            "" if is_correct else f"\nlabel: {shortened(label, 18)}"
        )
        colour = "#117733" if is_correct else "#aa0000"
        axes.text(middle, bottom - side - 0.06, text, ha="center", va="bottom", fontsize=8, color=colour)
    axes.set(xlim=(0, wide * columns), ylim=(high * rows, 0))
    return figure


def contact_sheet(faces: np.ndarray, emotions: Sequence[str], columns: int = 10, left_out: int = 0) -> Figure:
    """Draws faces of a corpus, one row per emotion.

    Args:
        faces: uint8 (N, H, W, 3) RGB.
        emotions: n labels; the first ``columns`` faces of each of the first :data:`MAX_CLASSES` emotions are shown.
        columns: number of faces per row.
        left_out: number of further emotions without faces here.
    """
    every = sorted(set(emotions))
    names = every[:MAX_CLASSES]
    left_out += len(every) - len(names)
    figure = Figure(figsize=(1.1 * columns + 0.6, 1.15 * len(names)), layout="constrained")
    if left_out:
        figure.supxlabel(not_shown(left_out))
    height, width = faces.shape[1:3]
    gap = width // 16
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
        axes.set_ylabel(shortened(name, 18))
        # One image per row: an axes per face would take a second to draw.
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
    """Draws pairs of faces with headings, such as near-duplicates in different subsets of a split.

    Args:
        faces_a: uint8 (N, H, W, 3) RGB, left faces.
        faces_b: uint8 (N, H, W, 3) RGB, right faces.
        titles_a: n texts below the left faces; long lines are wrapped.
        titles_b: n texts below the right faces.
        headings: n headings of the pairs.
        title: title of the figure.
        columns: number of pairs per row.
    """
    columns = max(1, min(columns, len(faces_a)))
    rows = max(1, -(-len(faces_a) // columns))
    under_a, under_b = (
        ["\n".join(map(wrapped, text.splitlines())) for text in texts] for texts in (titles_a, titles_b)
    )
    lines = max((text.count("\n") + 1 for text in [*under_a, *under_b]), default=0)
    # In inches: a face, a heading and the largest number of text lines below a face.
    figure = Figure(figsize=(3.8 * columns, 0.4 + rows * (2.3 + 0.14 * lines)), layout="constrained")
    figure.suptitle(title)
    places = figure.subfigures(rows, columns, squeeze=False).flat
    for place, *halves, heading in zip(
        places, zip(faces_a, under_a, strict=True), zip(faces_b, under_b, strict=True), headings, strict=False
    ):
        place.suptitle(heading, fontsize=9, fontweight="bold")
        for axes, (face, text) in zip(place.subplots(1, 2), halves, strict=True):
            axes.imshow(face)
            axes.set_anchor("N")  # align at the top, so that headings stay next to their faces
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(text, fontsize=8)
    return figure
