"""A face in a picture: where it is, and where its eyes are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EYES_IN_BOX = np.array([[0.30, 0.405], [0.70, 0.405]])
"""Where Haar's boxes have the eyes (left one of the picture first), as shares of the side."""


@dataclass(frozen=True)
class Face:
    """A face found in a picture; all lengths in pixels of the whole picture as displayed: upright, with square pixels.

    Attributes:
        box: left, top, width, height.
        eyes: x and y of the eye on the left of the picture, then of the other, shape (2, 2); None if not found.
        whole: the picture itself was taken as the face, nothing was looked for.
    """

    box: tuple[float, float, float, float]
    eyes: np.ndarray | None = None
    whole: bool = False


def intersection(box: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """The area that two boxes have in common, in square pixels; each is left, top, width, height."""
    width, height = (
        min(box[side] + box[side + 2], other[side] + other[side + 2]) - max(box[side], other[side]) for side in (0, 1)
    )
    return float(max(0, width) * max(0, height))


def most_prominent(faces: Sequence[Face], image: np.ndarray) -> Face:
    """The largest and most central of several faces.

    Args:
        faces: at least one.
        image: uint8 (H, W, 3), where they are.
    """
    height, width = image.shape[:2]

    def prominence(face: Face) -> float:
        left, top, w, h = face.box
        off = np.hypot((left + w / 2) / width - 0.5, (top + h / 2) / height - 0.5)
        return w * h * (1 - off)

    return max(faces, key=prominence)
