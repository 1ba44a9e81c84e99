"""Heat maps over faces, and those that ``fervid.explain`` leaves of each emotion for the report."""

import textwrap
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervid.errors import InputError, first_line
from fervid.figures.drawing import MAX_CLASSES, Figure, not_shown, shortened, wrapped
from fervid.storage.atomic import writing

HEAT_MAPS = "explanation/heat_maps.npz"  # in a run folder
MAX_OPACITY = 0.6  # how much of a face the hottest spot of a heat map hides


@dataclass(frozen=True)
class MeanHeatMaps:
    """What a network looks at in each of K emotions, on the mean of the faces it was shown.

    Attributes:
        emotions: the K emotions that are in the test.
        faces: the mean faces, uint8 (K, S, S, 3) RGB.
        maps: the means of their heat maps, float32 (K, S, S) in [0, 1].
        frames: how many were averaged, shape (K,).
        right: whether these were frames that the network is right about, shape (K,); else any of the emotion.
    """

    emotions: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    frames: np.ndarray
    right: np.ndarray

    def draw(self, title: str = "") -> Figure:
        """The mean faces and, below, what is looked at in them; all on one scale."""
        heat = self.maps / max(float(self.maps.max()), 1e-6)
        shown = np.stack([overlay(face, own) for face, own in zip(self.faces, heat, strict=True)])
        kinds = np.where(self.right, " right", ", right or wrong")
        captions = [f"{count}{kind}" for count, kind in zip(self.frames, kinds, strict=True)]
        return mean_heat_maps(self.faces, shown, self.emotions.tolist(), captions, title)

    def save(self, path: Path) -> None:
        """Writes an ``.npz`` of plain arrays."""
        with writing(path) as partial:
            np.savez_compressed(partial, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "MeanHeatMaps":
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: if the file is damaged or of another kind.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                made = cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read ({first_line(error)}): run fervid.explain again.") from error
        kinds = [array.dtype.kind for array in vars(made).values()]
        number, size = len(made.faces), made.faces.shape[1:2]
        shapes = [(number,), (number, *size, *size, 3), (number, *size, *size), (number,), (number,)]
        if kinds != ["U", "u", "f", "i", "b"] or [array.shape for array in vars(made).values()] != shapes or not number:
            raise InputError(f"{path} holds no heat maps: run fervid.explain again.")
        return made


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a heat map over a face, which is made gray: all colour is heat.

    Args:
        picture: uint8 (S, S, 3) RGB.
        heat: (S, S) in [0, 1].

    Returns:
        uint8 (S, S, 3) RGB.
    """
    import cv2  # a report draws no heat map of its own, and its import takes a while

    heat = np.clip(heat, 0, 1)
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colour = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_TURBO)[..., ::-1]  # type: ignore[call-overload]
    cover = MAX_OPACITY * heat[..., None] ** 0.7
    return np.uint8(np.rint((1 - cover) * gray + cover * colour))  # type: ignore[return-value]


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
        title = f"{title} ({not_shown(len(emotions) - MAX_CLASSES)})".lstrip()
        faces, shown = faces[:MAX_CLASSES], shown[:MAX_CLASSES]
        emotions, captions = emotions[:MAX_CLASSES], captions[:MAX_CLASSES]
    figure = Figure(figsize=(1.5 * len(emotions) + 0.4, 3.6 + 0.3 * bool(title)), layout="constrained")
    figure.suptitle(wrapped(title, 16 * len(emotions)), fontsize=10)
    grid = figure.subplots(2, len(emotions), squeeze=False)
    for column, emotion, caption, *pictures in zip(grid.T, emotions, captions, faces, shown, strict=True):
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
        column[0].set_title(shortened(emotion, 18), fontsize=9)
        column[1].set_xlabel(caption, fontsize=8)
    grid[0, 0].set_ylabel("mean face", fontsize=8)
    grid[1, 0].set_ylabel("mean heat map", fontsize=8)
    return figure
