"""Faces: predictions, a corpus, and pairs that look alike."""

from collections.abc import Sequence

import numpy as np

from fervid.figures.drawing import MAX_CLASSES, Figure, not_shown, shortened, wrapped


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
        text = f"{shortened(said, 18)} {sure:.0%}" + ("" if right else f"\nis {shortened(is_, 18)}")
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
        figure.supxlabel(not_shown(left_out))
    height, width = faces.shape[1:3]
    gap = width // 16
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
        axes.set_ylabel(shortened(name, 18))
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
        ["\n".join(map(wrapped, text.splitlines())) for text in texts] for texts in (titles_a, titles_b)
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
