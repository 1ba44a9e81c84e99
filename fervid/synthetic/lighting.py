"""Shading of a head: a coarse light map, computed from bumps such as nose, cheeks, eye sockets and lips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fervid.synthetic.anatomy import Shape
from fervid.synthetic.brushes import Colour
from fervid.synthetic.curves import Array
from fervid.synthetic.identity import Identity
from fervid.synthetic.pose import Pose, skin_depth

GRID_STEP, GRID_LEFT, GRID_TOP = 0.016, -0.65, -0.85
GRID_X = np.arange(GRID_LEFT, 0.651, GRID_STEP)
GRID_Y = np.arange(GRID_TOP, 1.051, GRID_STEP)


@dataclass(frozen=True)
class Light:
    """The lighting of a scene.

    Attributes:
        x: horizontal component of the direction, negative for light from the left; the frontal component is 0.9.
        y: vertical component of the direction, negative for light from above.
        ambient: fraction of ambient light, 0 to 1.
        tint: gain of red, green and blue.
    """

    x: float
    y: float
    ambient: float
    tint: Colour


def light_map(identity: Identity, a: Mapping[int, float], shape: Shape, pose: Pose, light: Light) -> Array:
    """Returns the light reflected by the upright head, float32 (rows, columns, 3); 1 leaves a colour unchanged."""
    eye_x, (wide, _, bridge) = identity.eyes[0], identity.nose
    mouth, nose, chin, lip = shape.mouth_y, shape.nose_y, shape.chin, float(shape.lip_lower_out[12, 1])
    cheek_y = 0.150 - 0.030 * max(a[6], a[12])
    cheek = 0.030 + 0.022 * max(a[6], 0.8 * a[12])
    mass = 1.0 if identity.sex == "male" else 0.7
    # x, y, width, height and elevation; bumps off the midline are mirrored.
    bumps = [
        (0.0, 0.045, 0.031, 0.100, 0.024 * bridge),
        (0.0, nose - 0.036, 0.040 * wide, 0.034, 0.036),
        (0.054 * wide, nose - 0.022, 0.021, 0.019, 0.014),
        (eye_x, -0.004, 0.085, 0.055, -0.038),
        (eye_x, -0.004, 0.046, 0.034, 0.026),
        (0.15, shape.brow[4, 1] + 0.010, 0.110, 0.030, 0.022 * mass),
        (0.0, shape.brow[0, 1], 0.050, 0.040, 0.014 * mass + 0.012 * a[4]),
        (0.215, cheek_y, 0.080, 0.062, cheek),
        (0.275, 0.315, 0.060, 0.090, -0.020 * mass),
        (0.325, -0.17, 0.045, 0.100, -0.020),
        (0.11, -0.31, 0.120, 0.090, 0.020),
        (0.0, mouth - 0.016, 0.105, 0.030, 0.018),
        (0.0, mouth - 0.075, 0.011, 0.030, -0.006),
        (shape.mouth_half + 0.035, mouth + 0.010, 0.028, 0.050, -0.010 - 0.006 * a[12]),
        (0.0, lip - 0.016, 0.075, 0.018, 0.014),
        (0.0, lip + 0.025, 0.075, 0.020, -0.014),
        (0.0, chin - 0.070, 0.075, 0.045, 0.032 + 0.012 * a[17]),
    ]
    # Regions that receive little light from any direction.
    hollows = [
        (0.0, nose + 0.018, 0.055, 0.018, 0.16),
        (0.092, -0.005, 0.030, 0.040, 0.10),
        (eye_x, -0.050, 0.075, 0.022, 0.10 + 0.10 * a[4]),
        (eye_x, 0.055, 0.060, 0.020, 0.05 + 0.06 * identity.age),
        (0.44, 0.10, 0.060, 0.160, 0.20),
        (0.0, -0.46, 0.24, 0.030, 0.06),
    ]
    blushes = [
        (0.215, 0.165, 0.080, 0.060, 0.9 + 0.5 * a[12]),
        (0.0, nose - 0.03, 0.045, 0.045, 0.7),
        (0.0, chin - 0.06, 0.07, 0.05, 0.35),
    ]
    _, slope_x, slope_y = _gaussians(bumps, pose)
    hollow, blush = _gaussians(hollows, pose)[0], _gaussians(blushes, pose)[0]

    normal_x, normal_y = _head_normals()
    normal_x = normal_x + 0.5 * np.sin(pose.yaw) - slope_x
    normal_y = normal_y + 0.5 * np.sin(pose.pitch) - slope_y
    slant = normal_x**2 + normal_y**2
    normal_z = np.sqrt(np.maximum(0.08, 1 - slant))
    to_light = np.array([light.x, light.y, 0.9]) / np.linalg.norm([light.x, light.y, 0.9])
    facing = normal_x * to_light[0] + normal_y * to_light[1] + normal_z * to_light[2]
    facing = facing / np.sqrt(slant + normal_z**2)
    diffuse = np.maximum(
        0, (facing + 0.25) / 1.25
    )  # a wide light source also reaches surfaces that face slightly away from it
    level = np.clip((light.ambient + (1.12 - light.ambient) * diffuse) * (1 - hollow), 0.16, 1.3)
    shine = 0.12 * np.maximum(0, facing) ** 24
    # Light scattered inside skin is reddish, so shadows are warm.
    red = level * (1.13 - 0.13 * level)
    green = level * (0.95 + 0.05 * level - 0.10 * blush)
    blue = level * (0.90 + 0.10 * level - 0.085 * blush)
    channels = (np.stack([red, green, blue]) + shine) * np.reshape(light.tint, (3, 1, 1))
    return cv2.merge(list(channels.astype(np.float32)))


def _gaussians(rows: Sequence[tuple[float, ...]], pose: Pose) -> tuple[Array, Array, Array]:
    """Returns the sum of Gaussian bumps over the grid of the light map, and its slopes along x and y.

    A Gaussian is separable, so the whole sum is one matrix product.
    """
    table = np.array([*rows, *((-x, *rest) for x, *rest in rows if x > 0)])
    depth = skin_depth(table)
    x = table[:, :1] * np.cos(pose.yaw) + depth[:, None] * np.sin(pose.yaw)
    y = table[:, 1:2] * np.cos(pose.pitch) + depth[:, None] * np.sin(pose.pitch)
    wide, high, size = table[:, 2:3], table[:, 3:4], table[:, 4:5]
    u, v = (GRID_X - x) / wide, (GRID_Y - y) / high
    along_x, along_y = np.exp(-(u**2) / 2), np.exp(-(v**2) / 2) * size
    return along_y.T @ along_x, along_y.T @ (-u / wide * along_x), (-v / high * along_y).T @ along_x


@lru_cache(maxsize=1)
def _head_normals() -> tuple[Array, Array]:
    """Returns the x and y components of the normals of a smooth head over the grid of the light map."""
    x, y = np.meshgrid(GRID_X, GRID_Y)
    # Below the chin, neck and shoulders are wider and face slightly upwards.
    body = np.clip((y - 0.56) / 0.15, 0, 1)
    across, down = x / (0.47 + 0.7 * body), (y - 0.02) / 0.66
    normal_x = 0.92 * np.sign(x) * np.minimum(1, np.abs(across)) ** 1.7
    normal_y = 0.62 * np.sign(down) * np.minimum(1, np.abs(down)) ** 1.8
    return normal_x, normal_y * (1 - body) - 0.18 * body
