"""Shared by all figures: colours, shortened texts and writing PNG files."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib import figure as matplotlib_figure
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from fervid.storage.atomic import writing

TRAIN, VAL, GRAY = "#0072b2", "#d55e00", "#777777"  # distinguishable with colour blindness

# Tol's muted scheme, distinguishable with colour blindness; one colour per emotion, in class order.
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
MAX_CLASSES = 30  # emotions shown individually in a figure; more would be slow to draw and illegible
MAX_NAME = 40  # maximum length of a class name in a figure


class Figure(matplotlib_figure.Figure):
    """A figure without mathtext: class and subject names may contain ``$``, which would start a formula."""

    def draw(self, renderer: RendererBase) -> None:
        # Set when drawing, not when creating texts, so that it applies to all texts and output formats.
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)


def save(figure: matplotlib_figure.Figure, path: Path, dpi: int = 110) -> Path:
    """Writes a figure as PNG; draws it only once, while ``savefig`` draws it twice.

    Args:
        figure: figure to write.
        path: path of the PNG file.
        dpi: resolution in pixels per inch.

    Returns:
        The path.
    """
    picture = Image.fromarray(pixels(figure, dpi))
    with writing(path) as partial:
        picture.save(partial, dpi=(dpi, dpi), compress_level=1)  # a quarter of the time, 10% larger files
    return path


def pixels(figure: matplotlib_figure.Figure, dpi: int = 110) -> np.ndarray:
    """Renders a figure as an image, uint8 (H, W, 3) RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def not_shown(count: int) -> str:
    """Returns a note on the number of emotions that a figure omits."""
    return f"{count} more emotions not shown"


def wrapped(line: str, width: int = 26) -> str:
    """Wraps a text into lines of at most ``width`` characters."""
    return textwrap.fill(line, width=width)


def shortened(name: str, length: int = MAX_NAME) -> str:
    """Shortens a name to ``length`` characters."""
    return name if len(name) <= length else f"{name[: length - 3]}..."
