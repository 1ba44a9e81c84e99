"""What all figures share: colours, texts that fit, and how a figure becomes a PNG file."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib import figure as matplotlib_figure
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from fervid.storage.atomic import writing

TRAIN, VAL, GRAY = "#0072b2", "#d55e00", "#777777"  # told apart by colour-blind readers too

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
    picture = Image.fromarray(pixels(figure, dpi))
    with writing(path) as partial:
        picture.save(partial, dpi=(dpi, dpi), compress_level=1)  # a quarter of the time for a tenth more bytes
    return path


def pixels(figure: matplotlib_figure.Figure, dpi: int = 110) -> np.ndarray:
    """A figure as a picture, uint8 (H, W, 3) RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def not_shown(count: int) -> str:
    """Says how many emotions a figure leaves out."""
    return f"{count} more emotions not shown"


def wrapped(line: str, width: int = 26) -> str:
    """A line broken into lines of at most ``width`` characters."""
    return textwrap.fill(line, width=width)


def shortened(name: str, length: int = MAX_NAME) -> str:
    """A name that leaves room for the figure it stands in."""
    return name if len(name) <= length else f"{name[: length - 3]}..."
