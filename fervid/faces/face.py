"""The position of a face and its eyes in a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EYES_IN_BOX = np.array([[0.30, 0.405], [0.70, 0.405]])
"""Position of the eyes in boxes of the Haar detector, as fractions of the side; the left eye in the picture first."""


@dataclass(frozen=True)
class Face:
    """A face in a picture. Coordinates are in pixels of the picture as displayed: upright, with square pixels.

    Attributes:
        box: left, top, width, height.
        eyes: x and y of the left eye in the picture, then of the right one, shape (2, 2); None if not found.
        whole: whether the picture itself is used as the face, without detection.
    """

    box: tuple[float, float, float, float]
    eyes: np.ndarray | None = None
    whole: bool = False

    def moved(self, scale: float = 1.0, shift: float = 0.0) -> "Face":
        """Returns the face in coordinates that are scaled and then shifted by a number of pixels on both axes."""
        left, top, width, height = (value * scale for value in self.box)
        eyes = None if self.eyes is None else self.eyes * scale + shift
        return Face((left + shift, top + shift, width, height), eyes, self.whole)


def central_square(image: np.ndarray, *, whole: bool) -> Face:
    """Returns the central square of a picture as a face.

    Args:
        image: uint8 (H, W, 3) RGB.
        whole: whether the square is used as it is, instead of as the box of a detected face.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    return Face(((width - side) // 2, (height - side) // 2, side, side), whole=whole)


def intersection(box: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Returns the area of the intersection of two boxes (left, top, width, height) in square pixels."""
    width, height = (
        min(box[axis] + box[axis + 2], other[axis] + other[axis + 2]) - max(box[axis], other[axis]) for axis in (0, 1)
    )
    return float(max(0, width) * max(0, height))


def most_prominent(faces: Sequence[Face], image: np.ndarray) -> Face:
    """Returns the largest and most central face.

    Args:
        faces: one or more faces.
        image: the picture with the faces, uint8 (H, W, 3).
    """
    height, width = image.shape[:2]

    def prominence(face: Face) -> float:
        left, top, w, h = face.box
        offset = np.hypot((left + w / 2) / width - 0.5, (top + h / 2) / height - 0.5)
        return w * h * (1 - offset)

    return max(faces, key=prominence)
