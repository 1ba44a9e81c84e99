"""Curves in the plane, as arrays of points (N, 2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def xy(x: Array | Sequence[float], y: Array | Sequence[float]) -> Array:
    """Returns points (N, 2) from their coordinates (N,)."""
    return np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1)


def mirrored(half: Array) -> Array:
    """Returns a closed curve from its right half."""
    return np.concatenate([half, (half * (-1, 1))[::-1]])


def curve(points: Array, count: int, closed: bool = False) -> Array:
    """Returns `count` points on the Catmull-Rom spline through the given points."""
    return _spline(len(points), count, closed) @ points


@lru_cache(maxsize=64)
def _spline(controls: int, count: int, closed: bool) -> Array:
    """Returns the weights (count, controls) of the control points for each point of the spline."""
    at = np.linspace(0, controls if closed else controls - 1, count, endpoint=not closed)
    first = np.minimum(np.floor(at).astype(int), controls - (1 if closed else 2))
    t = at - first
    square, cube = t**2, t**3
    near = [-t + 2 * square - cube, 2 - 5 * square + 3 * cube, t + 4 * square - 3 * cube, cube - square]
    weights = np.zeros((count, controls))
    for offset in range(4):
        index = first + offset - 1
        index = index % controls if closed else np.clip(index, 0, controls - 1)
        np.add.at(weights, (np.arange(count), index), near[offset] / 2)
    return weights


def taper(points: Array, width: Array | float, start: float = 0.0) -> Array:
    """Returns the outlines (..., 2 N, 2) of strokes along `points` (..., N, 2) that taper towards their ends.

    `width` (..., 1) is in pixels; `start` is the fraction of it at the beginning of a stroke.
    """
    tangent = np.empty_like(points)
    tangent[..., 1:-1, :] = points[..., 2:, :] - points[..., :-2, :]
    tangent[..., 0, :] = points[..., 1, :] - points[..., 0, :]
    tangent[..., -1, :] = points[..., -1, :] - points[..., -2, :]
    normal = tangent[..., ::-1] * (-1, 1) / np.maximum(np.linalg.norm(tangent, axis=-1, keepdims=True), 1e-6)
    t = np.linspace(0, 1, points.shape[-2])
    profile = np.maximum(np.sin(np.pi * t) ** 0.7, start * (1 - t)) * width / 2
    normal *= profile[..., None]
    return np.concatenate([points + normal, (points - normal)[..., ::-1, :]], axis=-2)
