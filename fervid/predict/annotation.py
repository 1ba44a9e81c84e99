"""Draws predictions into pictures and videos."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import matplotlib
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from fervid.faces.face import Face
from fervid.figures.drawing import EMOTION_COLOURS, GRAY, TRAIN
from fervid.media.decoding import Frame
from fervid.predict.answers import Answer
from fervid.predict.part_texts import part_lines
from fervid.schema.parts import Part

SOUND_FRAME = 1024  # samples that AAC encodes together
TICKS_PER_SECOND = 90_000  # the usual clock of video files, fine enough for any frame rate


class MarkedFace(Protocol):
    """A face with its prediction, such as a :class:`fervid.predict.predictor.FacePrediction`.

    Attributes:
        face: its position.
        person: number of the person; None: not shown.
        emotion: the predicted emotion; empty if none is predicted.
        probabilities: probability of each emotion, shape (num_classes,).
        answer: how it is answered; None: with the emotion.
        others: values of the parts other than the emotion.
    """

    @property
    def face(self) -> Face: ...

    @property
    def person(self) -> int | None: ...

    @property
    def emotion(self) -> str: ...

    @property
    def probabilities(self) -> np.ndarray: ...

    @property
    def answer(self) -> Answer | None: ...

    @property
    def others(self) -> Mapping[Part, np.ndarray]: ...


def annotate(image: np.ndarray, faces: Sequence[MarkedFace]) -> np.ndarray:
    """Draws a box around each face, with the person's number and the prediction.

    The prediction is the emotion and its confidence, valence and arousal, and the action units that are present.

    Args:
        image: uint8 (H, W, 3) RGB.
        faces: the predictions for this image.

    Returns:
        An annotated copy, uint8 (H, W, 3) RGB. The colours are those of the emotions in
        :func:`fervid.figures.timeline`; a face that is not answered is gray.
    """
    picture = Image.fromarray(image)  # draws into a copy
    draw = ImageDraw.Draw(picture)
    height, width = image.shape[:2]
    line = max(1, round(min(height, width) / 240))
    for face in faces:
        left, top, box_width, box_height = face.face.box
        right, bottom = (max(start, start + size - 1) for start, size in ((left, box_width), (top, box_height)))
        colour, label = _colour_and_label(face)
        text = label if face.person is None else f"{face.person}: {label}"
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        font = _font(round(min(max(11, min(height, width) / 32), max(11, box_width / 7))))
        pad = max(2, round(font.size / 4))
        _, _, text_width, text_height = (round(value) for value in draw.textbbox((0, 0), text, font))
        # Above the box if there is room, otherwise inside it; always within the picture.
        y = top - text_height - 2 * pad if top >= text_height + 2 * pad else top
        x = max(0, min(left, width - text_width - 2 * pad))
        draw.rectangle((x, y, x + text_width + 2 * pad, y + text_height + 2 * pad), fill=colour)
        draw.text((x + pad, y + pad), text, fill=_ink(colour), font=font)
    return np.array(picture)


def _colour_and_label(face: MarkedFace) -> tuple[str, str]:
    """Returns the colour of a face and its label, which may have several lines."""
    lines = part_lines(face.others)
    if not face.emotion:
        return TRAIN, "\n".join(lines)
    colour = EMOTION_COLOURS[int(face.probabilities.argmax()) % len(EMOTION_COLOURS)]
    label = f"{face.emotion} {face.probabilities.max():.0%}"
    if face.answer is not None and face.answer.confidence is not None:
        label = f"{face.answer.emotion} {face.answer.confidence:.0%}"
        colour = GRAY if face.answer.is_unsure else colour
    return colour, "\n".join([label, *lines])


class AnnotatedVideo:
    """Context manager that writes an H.264 video of annotated frames with their original times.

    However the ``with`` block ends, Ctrl-C included, the file can be played up to the last frame written. If the disk
    is full, the file is removed.

    Args:
        path: path of the ``.mp4`` file.
        sound_rate: samples per second of its sound; None: without sound.

    Raises:
        OSError: here, in :meth:`write` and in :meth:`write_sound`, if the file cannot be written or the disk is full.
    """

    def __init__(self, path: Path, sound_rate: int | None = None):
        self.path, self.sound_rate = path, sound_rate
        self._last = -1
        self._samples, self._heard = np.empty(0, np.float32), 0  # waiting for the encoder, and encoded before them

    def __enter__(self) -> "AnnotatedVideo":
        self._container = av.open(str(self.path), "w")
        self._stream: VideoStream | None = None
        self._sound: AudioStream | None = None
        return self

    def write(self, frame: Frame, faces: Sequence[MarkedFace]) -> None:
        """Appends a frame; frames must come in the order of their times."""
        image = annotate(frame.image, faces)
        if self._stream is None:
            # yuv420p stores chroma for every second pixel, so width and height must be even.
            height, width = (length + length % 2 for length in image.shape[:2])
            options = {"preset": "superfast", "crf": "23"}
            self._stream = self._container.add_stream("libx264", rate=30, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
            if self.sound_rate:  # all streams are added before anything is written
                self._sound = self._container.add_stream("aac", rate=self.sound_rate, layout="mono")
        if image.shape[:2] != (self._stream.height, self._stream.width):  # a recording may change its size
            image = np.asarray(ImageOps.pad(Image.fromarray(image), (self._stream.width, self._stream.height)))
        video_frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._last = max(round(frame.time * TICKS_PER_SECOND), self._last + 1)
        video_frame.pts, video_frame.time_base = self._last, Fraction(1, TICKS_PER_SECOND)
        self._container.mux(self._stream.encode(video_frame))

    def write_sound(self, time: float, samples: np.ndarray) -> None:
        """Appends sound; gaps are silent. What overlaps with sound before, or precedes the first frame, is left out.

        Args:
            time: time of the first sample in seconds after the first frame.
            samples: float32 (N,), mono, -1 to 1.
        """
        if self._sound is None:  # there is no frame yet
            return
        rate = self._sound.rate
        while (gap := round(time * rate) - self._heard - len(self._samples)) > 0:
            self._encode_sound(np.zeros(min(gap, rate), np.float32))
        self._encode_sound(samples[min(-gap, len(samples)) :])

    @property
    def _frame_samples(self) -> int:
        """Number of samples that the encoder takes at once."""
        return (self._sound.codec_context.frame_size if self._sound else 0) or SOUND_FRAME

    def _encode_sound(self, samples: np.ndarray) -> None:
        assert self._sound is not None
        self._samples = np.concatenate([self._samples, samples])
        size = self._frame_samples
        while len(self._samples) >= size:
            frame = av.AudioFrame.from_ndarray(self._samples[None, :size].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self._sound.rate, self._heard, Fraction(1, self._sound.rate)
            self._container.mux(self._sound.encode(frame))
            self._samples, self._heard = self._samples[size:], self._heard + size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._stream is not None and not isinstance(error, OSError):
                self._container.mux(self._stream.encode())
                if self._sound is not None:
                    self._encode_sound(np.zeros(-len(self._samples) % self._frame_samples, np.float32))
                    self._container.mux(self._sound.encode())
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
    """Returns black or white, whichever contrasts more with the background colour."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
