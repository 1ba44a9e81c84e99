"""Drawing functions: fills, strokes, discs and blends, on uint8 images (H, W, 3) in RGB or (H, W)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fervid.synthetic.curves import Array

Image = NDArray[Any]
Colour = tuple[float, float, float]


def rgb(values: Array) -> Colour:
    """Returns a colour (3,) as three numbers from 0 to 255."""
    red, green, blue = np.clip(values, 0, 255).tolist()
    return red, green, blue


def fixed(points: Array) -> Array:
    """Converts pixels to sixteenths, the fixed-point format of OpenCV with `shift=4`."""
    return np.round(points * 16).astype(np.int32)


def fill(image: Image, points: Array, colour: tuple[float, ...]) -> None:
    """Fills the inside of a curve, in place."""
    cv2.fillPoly(image, [fixed(points)], colour, cv2.LINE_AA, 4)


def stroke(image: Image, points: Array, width: float, colour: Colour, closed: bool = False) -> None:
    """Draws along a curve, in place; `width` is in pixels."""
    cv2.polylines(image, [fixed(points)], closed, colour, max(1, round(width)), cv2.LINE_AA, 4)


def disc(image: Image, centre: Array, radius: float, colour: Colour) -> None:
    """Draws a disc, in place; `radius` is in pixels."""
    cv2.circle(image, fixed(centre).tolist(), max(1, round(radius * 16)), colour, -1, cv2.LINE_AA, 4)


def plain_image(like: Image, colour: Array | Colour) -> Image:
    """Returns a picture of one colour with the size of another."""
    plain = np.empty_like(like)
    cv2.rectangle(plain, (0, 0), like.shape[1::-1], rgb(np.asarray(colour)), -1)
    return plain


def soften(image: Image, sigma: float) -> Image:
    """Blurs a picture; `sigma` is in pixels."""
    return cv2.GaussianBlur(image, (0, 0), max(0.3, sigma))


def blend(over: Image, under: Image, cover: Image) -> Image:
    """Blends two pictures: `over` where `cover` is 255, `under` where it is 0."""
    share = cover * np.float32(1 / 255)
    return cv2.blendLinear(over, under, share, 1 - share)


def paint_inside(image: Image, edge: Array, paint: Callable[[Image, Array], None], feather: float) -> None:
    """Draws with `paint` inside a closed curve.

    `paint` receives a copy of the region around the curve and the position of its first pixel in `image` as x, y; only
    the part inside the curve is copied back.
    """
    margin = 3 + 3 * feather
    low = np.maximum(np.floor(edge.min(axis=0) - margin), 0).astype(int)
    high = np.maximum(np.ceil(edge.max(axis=0) + margin), 0).astype(int)
    patch = image[low[1] : high[1], low[0] : high[0]]
    if patch.size == 0:
        return
    painted = patch.copy()
    paint(painted, low)
    mask = np.zeros(patch.shape[:2], np.uint8)
    fill(mask, edge - low, (255,))
    patch[:] = blend(painted, patch, soften(mask, feather))
