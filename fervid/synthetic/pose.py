"""How the head is held: from face heights to pixels.

A face lies in *face heights*: the distance from hairline to chin is 1, the origin lies between the eyes, x points to
the right of the picture and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fervid.synthetic.curves import Array


@dataclass(frozen=True)
class Pose:
    """How the head is held.

    Attributes:
        x: column of the point between the eyes, in pixels.
        y: row of that point.
        scale: pixels to a face height.
        roll: turn in the picture plane, in radians, clockwise.
        yaw: turn to the right of the picture, in radians.
        pitch: turn down, in radians.
    """

    x: float
    y: float
    scale: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    @cached_property
    def _axes(self) -> Array:
        """Where one face height to the right, down and towards the viewer goes, in pixels (3, 2)."""
        down = [0.0, np.cos(self.pitch)]
        turned = np.array([[np.cos(self.yaw), 0.0], down, [np.sin(self.yaw), np.sin(self.pitch)]])
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return turned @ np.array([[cos, sin], [-sin, cos]]) * self.scale

    def project(self, points: Array, depth: Array | float) -> Array:
        """Pixels (..., 2) of points (..., 2) that lie `depth` (...) before the plane of the ears."""
        return points @ self._axes[:2] + np.asarray(depth)[..., None] * self._axes[2] + (self.x, self.y)

    def on_face(self, points: Array) -> Array:
        """Pixels (..., 2) of points (..., 2) that lie on the skin."""
        return self.project(points, skin_depth(points))

    def affine(self, step: float, left: float, top: float, depth: float) -> Array:
        """The 2 x 3 matrix from (column, row) of a grid with cells of `step` face heights to pixels.

        The grid's first cell lies at (left, top).
        """
        corners = np.array([[left, top], [left + step, top], [left, top + step]])
        first, right, below = self.project(corners, depth)
        return np.stack([right - first, below - first, first], axis=1)


def skin_depth(points: Array) -> Array:
    """How far skin at points (..., 2) lies before the plane of the ears, in face heights."""
    return 0.4 * np.sqrt(np.maximum(0, 1 - (points[..., 0] / 0.47) ** 2 - (points[..., 1] / 0.8) ** 2))
