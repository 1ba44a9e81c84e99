"""From one clip to its faces: decode, detect, align, crop. What a worker process does, and all that it has to load."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from fervid.errors import first_line
from fervid.faces.cropping import Alignment
from fervid.faces.detection import Detector
from fervid.faces.face import Face, most_prominent
from fervid.media.decoding import Frame, read_frames, read_picture
from fervid.media.sampling import Around, Sampling
from fervid.media.sources import Source
from fervid.schema.columns import BOX, EYES

JPEG_QUALITY = 95
FLAT_LEVELS = 16  # of luminance, of 256: no face has so few in any light, 12-bit values taken for 16 bits do
FLAT_SHARES = (0.01, 0.99)  # of the pixels: between them these levels are counted


@dataclass(frozen=True)
class ClipTask:
    """One clip to crop the faces of.

    Attributes:
        row: of the corpus's table of clips.
        source: the video or picture.
        sampling: which frames of a video; None: it is a picture.
        face: where the face is, if the corpus says so: nothing is detected then.
    """

    row: int
    source: Source
    sampling: Sampling | Around | None
    face: Face | None = None


@dataclass
class Crop:
    """What came of a task.

    Attributes:
        row: of the corpus's table of clips.
        frames: one dict a frame that was looked at; those with a face have ``aligned``,
            and ``flat`` if it shows nothing.
        faces: the JPEG of each frame; None where there is no face.
        sums: of all faces: count of pixels, then sums and sums of squares of red, green, blue and luminance, as whole
            numbers, so that the order of adding them changes nothing.
        failure: why the clip gives nothing; None if it does.
        temporary: whether the machine, not the file, is to blame: another time may go well.
    """

    row: int
    frames: list[dict[str, Any]] = field(default_factory=list)
    faces: list[bytes | None] = field(default_factory=list)
    sums: list[int] = field(default_factory=lambda: [0] * 9)
    failure: str | None = None
    temporary: bool = False


def crop_faces(task: ClipTask, detector: Detector, alignment: Alignment) -> Crop:
    """Crops the faces of one clip; whatever is wrong with the file ends up in ``failure``."""
    cv2.setNumThreads(1)  # clips, not rows of pixels, are shared out over the cores
    crop = Crop(task.row)
    last: Face | None = None
    try:
        for frame in _frames(task):
            found = [task.face] if task.face else detector.find(frame.image, last)
            row: dict[str, Any] = {"frame": frame.number, "time": round(frame.time, 4), "faces": len(found)}
            last = most_prominent(found, frame.image) if found else None
            jpeg = None
            if last:
                face, row["aligned"] = alignment.crop(frame.image, last)
                eyes = np.empty(0) if last.eyes is None else last.eyes.ravel()
                row |= {name: round(float(value), 1) for name, value in zip(BOX, last.box, strict=True)}
                row |= {name: round(float(value), 1) for name, value in zip(EYES, eyes, strict=False)}
                row |= {"flat": flat} if (flat := flatness(face)) else {}
                jpeg = encode(face)
                crop.sums = [before + value for before, value in zip(crop.sums, pixel_sums(face), strict=True)]
            crop.frames.append(row)
            crop.faces.append(jpeg)
    except (ValueError, cv2.error) as error:
        return Crop(task.row, failure=first_line(error))
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        return Crop(task.row, failure=reason, temporary=_is_temporary(error))
    if not crop.frames:
        crop.failure = "none of the wanted frames is in it"
    elif not any(crop.faces):
        crop.failure = f"no face in any of {len(crop.frames)} frames" if task.sampling else "no face"
    return crop


def encode(face: np.ndarray) -> bytes:
    """A face, uint8 (side, side, 3) RGB, as the JPEG that a prepared folder keeps of it."""
    return cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def flatness(face: np.ndarray) -> str | None:
    """Whether a face shows nothing, because its file is odd or was misread.

    Args:
        face: uint8 (H, W, 3) RGB.

    Returns:
        ``black``, ``white`` or ``constant`` if almost all of its luminance lies within 16 of 256 levels, else None.
    """
    counts = cv2.calcHist([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)], [0], None, [256], [0, 256])[:, 0]
    low, high = np.searchsorted(np.cumsum(counts), np.array(FLAT_SHARES) * counts.sum()).tolist()
    if high - low > FLAT_LEVELS:
        return None
    return "black" if high <= FLAT_LEVELS else "white" if low >= 255 - FLAT_LEVELS else "constant"


def pixel_sums(face: np.ndarray) -> list[int]:
    """What :class:`Crop` has of one face, by histograms: a twentieth of the time of squaring every pixel."""
    planes = [*cv2.split(face), cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)]
    # Counts are float32, exact up to 2^24: in faces of 4,096 px.
    counts = np.array([cv2.calcHist([plane], [0], None, [256], [0, 256])[:, 0] for plane in planes]).astype(np.int64)
    values = np.arange(256)
    return [planes[0].size, *(counts @ values).tolist(), *(counts @ values**2).tolist()]


def _frames(task: ClipTask) -> Iterator[Frame]:
    if task.sampling is None:
        yield Frame(0, 0.0, read_picture(task.source))
    else:
        yield from read_frames(task.source, task.sampling)


def _is_temporary(error: Exception) -> bool:
    trouble = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ETIMEDOUT)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in trouble
