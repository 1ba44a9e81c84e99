"""The head pose, which maps face heights to pixels.

The unit of a face's coordinates is the *face height*, the distance from hairline to chin. The origin is between the
eyes, x points to the right of the picture and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fervid.synthetic.curves import Array


@dataclass(frozen=True)
class Pose:
    """A head pose.

    Attributes:
        x: column of the point between the eyes, in pixels.
        y: row of that point.
        scale: pixels per face height.
        roll: clockwise rotation in the picture plane, in radians.
        yaw: rotation to the right of the picture, in radians.
        pitch: downward rotation, in radians.
    """

    x: float
    y: float
    scale: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    @cached_property
    def _axes(self) -> Array:
        """Projections of one face height to the right, down and towards the viewer, in pixels (3, 2)."""
        down = [0.0, np.cos(self.pitch)]
        rotated = np.array([[np.cos(self.yaw), 0.0], down, [np.sin(self.yaw), np.sin(self.pitch)]])
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return rotated @ np.array([[cos, sin], [-sin, cos]]) * self.scale

    def project(self, points: Array, depth: Array | float) -> Array:
        """Projects points (..., 2) at `depth` (...) in front of the plane of the ears to pixels (..., 2)."""
        return points @ self._axes[:2] + np.asarray(depth)[..., None] * self._axes[2] + (self.x, self.y)

    def on_face(self, points: Array) -> Array:
        """Projects points (..., 2) on the skin to pixels (..., 2)."""
        return self.project(points, skin_depth(points))

    def affine(self, step: float, left: float, top: float, depth: float) -> Array:
        """Returns the 2 x 3 matrix from (column, row) of a grid with cells of `step` face heights to pixels.

        The first cell of the grid is at (left, top).
        """
        corners = np.array([[left, top], [left + step, top], [left, top + step]])
        first, right, below = self.project(corners, depth)
        return np.stack([right - first, below - first, first], axis=1)


def skin_depth(points: Array) -> Array:
    """Returns the depth of the skin at points (..., 2) in front of the plane of the ears, in face heights."""
    return 0.4 * np.sqrt(np.maximum(0, 1 - (points[..., 0] / 0.47) ** 2 - (points[..., 1] / 0.8) ** 2))
