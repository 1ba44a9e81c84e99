"""Crops faces upright to a fixed size, with a margin and the eyes at a fixed position."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from fervid.errors import InputError
from fervid.faces.face import EYES_IN_BOX, Face

FACE_SIDE = 2.2  # side of a crop without margin, in eye distances
EYES_ABOVE_CENTRE = 0.35  # height of the eyes above the centre of a crop, in eye distances

Aligned = Literal["eyes", "box", "whole"]


@dataclass(frozen=True)
class Alignment:
    """A similarity transform (rotation, scale, translation) that moves the eyes to the same position in every crop.

    Without margin, a crop is 2.2 eye distances wide, from temple to temple, and its centre is 0.35 eye distances below
    the eyes, so it includes brows and chin. The default margin adds ears, hairline and space for an open mouth.

    Args:
        size: side of the crops in pixels.
        margin: fraction of the face added on each side.

    Raises:
        InputError: if an argument is out of range.
    """

    size: int = 256
    margin: float = 0.15

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 2048:
            raise InputError(f"dataset.face_size={self.size} is out of range: give 8 to 2048 pixels.")
        if not 0 <= self.margin <= 2:
            raise InputError(f"dataset.margin={self.margin} is out of range: give a fraction of the face from 0 to 2.")

    def crop(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, Aligned]:
        """Crops a face.

        Args:
            image: uint8 (H, W, 3) RGB.
            face: the face in it.

        Returns:
            The crop, uint8 (size, size, 3), with the pixels of the edge repeated beyond the picture; and how it was
            aligned: by ``eyes``; by ``box``, without rotation, if no eyes were found; or ``whole``, only resized.
        """
        left, top, width, height = face.box
        if face.whole:
            square = image[int(top) : int(top + height), int(left) : int(left + width)]
            method = cv2.INTER_AREA if width > self.size else cv2.INTER_CUBIC
            return cv2.resize(square, (self.size, self.size), interpolation=method), "whole"
        eyes = face.eyes
        if eyes is None:
            side = max(width, height)
            corner = np.array([left + width / 2 - side / 2, top + height / 2 - side / 2])
            eyes = corner + EYES_IN_BOX * side
        return self._warp(image, eyes), "box" if face.eyes is None else "eyes"

    def _warp(self, image: np.ndarray, eyes: np.ndarray) -> np.ndarray:
        across = eyes[1] - eyes[0]
        distances = FACE_SIDE * (1 + 2 * self.margin)  # side of the crop in eye distances
        side = distances * np.hypot(*across)  # side of the crop in pixels of the picture
        # Large faces are first downscaled by an integer factor with averaging, since warping alone would skip pixels.
        factor = max(1, int(side // self.size))
        if factor > 1:
            centre, reach = eyes.mean(axis=0), int(1.5 * side)
            x0, y0 = (max(0, int(value)) for value in centre - reach)
            part = image[y0 : int(centre[1]) + reach, x0 : int(centre[0]) + reach]
            height, width = (length - length % factor for length in part.shape[:2])
            image = cv2.resize(part[:height, :width], (width // factor, height // factor), interpolation=cv2.INTER_AREA)
            # Pixel centres are offset by half a pixel.
            eyes = (eyes - (x0, y0) + 0.5) / factor - 0.5
            across, side = eyes[1] - eyes[0], side / factor
        scale = self.size / side
        angle = np.arctan2(across[1], across[0])
        rotation = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        target = np.array([self.size / 2, self.size * (0.5 - EYES_ABOVE_CENTRE / distances)])
        shift = target - rotation @ eyes.mean(axis=0)
        # Black corners would tell tightly cropped corpora from others: with the edge repeated, networks that were
        # trained on FER+ recognise photographs of another corpus better, and the other way round.
        return cv2.warpAffine(
            image,
            np.column_stack([rotation, shift]),
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
