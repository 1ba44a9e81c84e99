"""Crops faces upright, all at one size, with a margin and the eyes in one place."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from fervid.errors import InputError
from fervid.faces.face import EYES_IN_BOX, Face

BARE_SIDE = 2.2  # of a crop without margin, in eye distances
EYES_ABOVE_MIDDLE = 0.35  # of a crop, in eye distances

Aligned = Literal["eyes", "box", "whole"]


@dataclass(frozen=True)
class Alignment:
    """A similarity transform (turn, scale, shift) that puts the eyes level and in the same place of every crop.

    Without margin a crop is 2.2 eye distances wide, from temple to temple, and its middle lies 0.35 eye distances
    below the eyes: brows and chin are in it. The default margin adds ears, hairline and room for a dropped jaw.

    Args:
        size: side of the crops in pixels.
        margin: share of the bare face added on each side.

    Raises:
        InputError: if a number is out of range.
    """

    size: int = 256
    margin: float = 0.15

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 2048:
            raise InputError(f"dataset.face_size={self.size} is out of range: give 8 to 2048 pixels.")
        if not 0 <= self.margin <= 2:
            raise InputError(f"dataset.margin={self.margin} is out of range: give 0 to 2 of the face's side.")

    def crop(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, Aligned]:
        """Cuts a face out.

        Args:
            image: uint8 (H, W, 3) RGB.
            face: what was found in it.

        Returns:
            The crop, uint8 (size, size, 3), black where the picture ends, and what it was aligned by: ``eyes``;
            ``box``, upright as filmed, because no eyes were found; or ``whole``, nothing but resized.
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
        distances = BARE_SIDE * (1 + 2 * self.margin)  # the side of the crop, in eye distances
        side = distances * np.hypot(*across)  # and in pixels of the picture
        # Large faces are first reduced by whole factors with averaging: warping alone would skip pixels.
        factor = max(1, int(side // self.size))
        if factor > 1:
            centre, reach = eyes.mean(axis=0), int(1.5 * side)
            x0, y0 = (max(0, int(value)) for value in centre - reach)
            part = image[y0 : int(centre[1]) + reach, x0 : int(centre[0]) + reach]
            height, width = (length - length % factor for length in part.shape[:2])
            image = cv2.resize(part[:height, :width], (width // factor, height // factor), interpolation=cv2.INTER_AREA)
            # Pixel centres lie half a pixel in.
            eyes = (eyes - (x0, y0) + 0.5) / factor - 0.5
            across, side = eyes[1] - eyes[0], side / factor
        scale = self.size / side
        angle = np.arctan2(across[1], across[0])
        turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        middle = np.array([self.size / 2, self.size * (0.5 - EYES_ABOVE_MIDDLE / distances)])
        shift = middle - turn @ eyes.mean(axis=0)
        return cv2.warpAffine(image, np.column_stack([turn, shift]), (self.size, self.size), flags=cv2.INTER_LINEAR)
