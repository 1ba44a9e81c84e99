"""Draws what was seen into pictures and videos."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType

import av
import matplotlib
import numpy as np
from av.video.stream import VideoStream
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from fervid.figures.drawing import EMOTION_COLOURS
from fervid.media.decoding import Frame
from fervid.predict.predictor import SeenFace

TICKS = 90_000  # a second: the usual clock of films, fine enough for any frame rate


def annotate(image: np.ndarray, faces: Sequence[SeenFace]) -> np.ndarray:
    """A copy of a picture with a box round each face, its person's number, emotion and confidence.

    Args:
        image: uint8 (H, W, 3) RGB.
        faces: what was seen in it.

    Returns:
        uint8 (H, W, 3) RGB; the colours are those of :func:`fervid.figures.timeline`.
    """
    picture = Image.fromarray(image)  # draws into a copy
    draw = ImageDraw.Draw(picture)
    height, width = image.shape[:2]
    line = max(1, round(min(height, width) / 240))
    for face in faces:
        left, top, box_width, box_height = face.face.box
        right, bottom = (max(start, start + size - 1) for start, size in ((left, box_width), (top, box_height)))
        colour = EMOTION_COLOURS[int(face.probabilities.argmax()) % len(EMOTION_COLOURS)]
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        number = "" if face.person is None else f"{face.person}: "
        text = f"{number}{face.emotion} {face.confidence:.0%}"
        font = _font(round(min(max(11, min(height, width) / 32), max(11, box_width / 7))))
        pad = max(2, round(font.size / 4))
        _, _, text_width, text_height = (round(value) for value in draw.textbbox((0, 0), text, font))
        # Above the box; inside it where the picture ends, and never out of the picture.
        y = top - text_height - 2 * pad if top >= text_height + 2 * pad else top
        x = max(0, min(left, width - text_width - 2 * pad))
        draw.rectangle((x, y, x + text_width + 2 * pad, y + text_height + 2 * pad), fill=colour)
        draw.text((x + pad, y + pad), text, fill=_ink(colour), font=font)
    return np.array(picture)


class AnnotatedVideo:
    """An H.264 video of annotated frames, each shown at its own time; no sound. To be used in a ``with``.

    Whatever ends the ``with``, Ctrl-C too, the file can be played up to the last frame written; if the disk is full
    it is taken away.

    Args:
        path: the file, ``.mp4``.

    Raises:
        OSError: here and in writing, if the file cannot be written or the disk is full.
    """

    def __init__(self, path: Path):
        self.path = path
        self._last = -1

    def __enter__(self) -> "AnnotatedVideo":
        self._container = av.open(str(self.path), "w")
        self._stream: VideoStream | None = None
        return self

    def write(self, frame: Frame, faces: Sequence[SeenFace]) -> None:
        """Adds a frame, later than the one before."""
        image = annotate(frame.image, faces)
        if self._stream is None:
            # Players know chroma for every other pixel alone.
            height, width = (length + length % 2 for length in image.shape[:2])
            options = {"preset": "superfast", "crf": "23"}
            self._stream = self._container.add_stream("libx264", rate=30, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, TICKS)
        if image.shape[:2] != (self._stream.height, self._stream.width):  # a recording may change its size
            image = np.asarray(ImageOps.pad(Image.fromarray(image), (self._stream.width, self._stream.height)))
        shown = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._last = max(round(frame.time * TICKS), self._last + 1)
        shown.pts, shown.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(shown))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._stream is not None and not isinstance(error, OSError):
                self._container.mux(self._stream.encode())
            self._container.close()
        except OSError:
            self.path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
        if self._stream is None or isinstance(error, OSError):
            self.path.unlink(missing_ok=True)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


@cache
def _ink(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
