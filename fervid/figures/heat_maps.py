"""Heat maps over faces, and the mean heat maps that ``fervid.explain`` stores for reports."""

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
MAX_OPACITY = 0.6  # opacity of a heat map at its maximum


@dataclass(frozen=True)
class MeanHeatMaps:
    """Mean heat maps and mean faces of K emotions.

    Attributes:
        emotions: the K emotions of the test subset.
        faces: mean faces, uint8 (K, S, S, 3) RGB.
        maps: mean heat maps, float32 (K, S, S) in [0, 1].
        frames: numbers of averaged frames, shape (K,).
        right: whether only correctly classified frames were averaged, shape (K,); otherwise all frames.
    """

    emotions: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    frames: np.ndarray
    right: np.ndarray

    def draw(self, title: str = "") -> Figure:
        """Draws the mean faces above their heat maps, all on one colour scale."""
        heat = self.maps / max(float(self.maps.max()), 1e-6)
        shown = np.stack([overlay(face, heat_map) for face, heat_map in zip(self.faces, heat, strict=True)])
        kinds = np.where(self.right, " correct frames", " frames")
        captions = [f"{count}{kind}" for count, kind in zip(self.frames, kinds, strict=True)]
        return mean_heat_maps(self.faces, shown, self.emotions.tolist(), captions, title)

    def save(self, path: Path) -> None:
        """Writes the arrays to an ``.npz`` file."""
        with writing(path) as partial:
            np.savez_compressed(partial, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "MeanHeatMaps":
        """Reads a file written by :meth:`save`.

        Raises:
            InputError: if the file is damaged or does not contain heat maps.
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
            raise InputError(f"{path} does not contain heat maps: run fervid.explain again.")
        return made


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlays a heat map on a face, which is converted to grayscale.

    Args:
        picture: face, uint8 (S, S, 3) RGB.
        heat: heat map (S, S) in [0, 1].

    Returns:
        The overlay, uint8 (S, S, 3) RGB.
    """
    import cv2  # not at the top: reports rarely need cv2, which is slow to import

    heat = np.clip(heat, 0, 1)
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colour = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_TURBO)[..., ::-1]  # type: ignore[call-overload]
    opacity = MAX_OPACITY * heat[..., None] ** 0.7
    return np.uint8(np.rint((1 - opacity) * gray + opacity * colour))  # type: ignore[return-value]


def explained_faces(
    views: Sequence[Sequence[np.ndarray]], captions: Sequence[Sequence[str]], headings: Sequence[str], columns: int = 2
) -> Figure:
    """Draws faces next to their heat maps, with headings.

    Args:
        views: for each of N faces, the face and its heat map overlays, each uint8 (S, S, 3) RGB.
        captions: caption of each of these images.
        headings: n headings.
        columns: number of faces per row.
    """
    wide = max(map(len, views))
    columns = max(1, min(columns, len(views)))
    rows = -(-len(views) // columns)
    figure = Figure(figsize=(columns * (1.65 * wide + 0.3), 2.25 * rows), layout="constrained")
    places = figure.subfigures(rows, columns, squeeze=False, wspace=0.03).flat
    for place, images, texts, heading in zip(places, views, captions, headings, strict=False):
        place.suptitle(textwrap.shorten(heading, 16 * wide, placeholder="..."), fontsize=9, fontweight="bold")
        for number, axes in enumerate(place.subplots(1, wide)):
            axes.set_anchor("N")
            if number >= len(images):
                axes.axis("off")
                continue
            axes.imshow(images[number])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(texts[number], fontsize=8)
    return figure


def mean_heat_maps(
    faces: np.ndarray, shown: np.ndarray, emotions: Sequence[str], captions: Sequence[str], title: str = ""
) -> Figure:
    """Draws mean faces above their heat maps.

    Args:
        faces: mean face of each emotion, uint8 (K, S, S, 3) RGB; at most :data:`MAX_CLASSES` are shown.
        shown: the same faces with heat maps, uint8 (K, S, S, 3) RGB.
        emotions: k emotions.
        captions: k captions.
        title: title of the figure.
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
