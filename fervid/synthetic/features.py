"""Draws mouth, eyes, brows, beard and glasses onto a face."""

from __future__ import annotations

import cv2
import numpy as np

from fervid.synthetic.anatomy import Shape
from fervid.synthetic.brushes import (
    Image,
    blend,
    disc,
    fill,
    fixed,
    paint_inside,
    plain_image,
    rgb,
    soften,
    stroke,
)
from fervid.synthetic.curves import Array, curve, taper, xy
from fervid.synthetic.identity import Identity
from fervid.synthetic.lighting import Light
from fervid.synthetic.pose import Pose, skin_depth


def draw_mouth(person: Image, identity: Identity, shape: Shape, pose: Pose) -> None:
    """Draws the lips and, in an open mouth, teeth and tongue."""
    curves = np.stack([shape.lip_upper_out, shape.lip_upper_in, shape.lip_lower_in, shape.lip_lower_out])
    top, upper, lower, bottom = pose.on_face(curves)
    lip, scale = np.array(identity.lip), pose.scale
    gape = float(np.max(lower[:, 1] - upper[:, 1]))

    def lips(patch: Image, origin: Array) -> None:
        fill(patch, np.concatenate([top, upper[::-1]]) - origin, rgb(lip * 0.86))
        fill(patch, np.concatenate([lower, bottom[::-1]]) - origin, rgb(lip))
        gloss = (lower[8:17] + bottom[8:17]) / 2
        fill(patch, taper(gloss - origin, 0.010 * scale), rgb(lip * 0.8 + 46))
        patch[:] = soften(patch, 0.006 * scale)
        fill(patch, taper((upper + lower) / 2 - origin, 0.009 * scale), rgb(lip * 0.42))

    def cavity(patch: Image, origin: Array) -> None:
        patch[:] = (62, 22, 24)
        if gape > 0.05 * scale:
            back = 0.35 * upper[5:20] + 0.65 * lower[5:20]
            front = lower[5:20][::-1] + np.array([0, 0.02 * scale])
            fill(patch, np.concatenate([back, front]) - origin, (158, 72, 74))
        # The teeth are fixed to the jaw, not to the lip, so their edge is straighter than the curve of the lip.
        gum = np.stack([upper[4:21, 0], 0.6 * upper[4:21, 1] + 0.4 * upper[[4, -5], 1].mean()], axis=1)
        long = min(0.55 * gape, 0.034 * scale) * (1 - np.linspace(-1, 1, 17) ** 4)
        teeth = np.concatenate([gum - (0, 0.03 * scale), (gum + xy(0 * long, long))[::-1]])
        fill(patch, teeth - origin, (226, 219, 206))
        patch[:] = soften(patch, 0.005 * scale)

    paint_inside(person, np.concatenate([top, bottom[::-1]]), lips, feather=0.006 * scale)
    if gape > 0.008 * scale:
        paint_inside(person, np.concatenate([upper, lower[::-1]]), cavity, feather=0.003 * scale)


def draw_eye(
    person: Image,
    identity: Identity,
    shape: Shape,
    pose: Pose,
    side: int,
    light: Light,
    gaze: tuple[float, float],
) -> Array:
    """Draws the eye on the left (-1) or right (1) of the picture; returns its centre in pixels (2,)."""
    scale, skin, iris = pose.scale, np.array(identity.skin), np.array(identity.iris)
    upper, lower = pose.on_face(np.stack([shape.lid_upper, shape.lid_lower]) * (side, 1))
    centre = shape.eye * (side, 1)
    pupil = pose.on_face(centre + np.array(gaze) * identity.eyes[1])
    radius = 0.042 * scale

    def eyeball(patch: Image, origin: Array) -> None:
        patch[:] = (236, 230, 226)
        at = pupil - origin
        disc(patch, at, radius, rgb(iris * 0.45))
        disc(patch, at, radius * 0.86, rgb(iris))
        disc(patch, at, radius * 0.46, (14, 11, 11))
        disc(patch, at + np.array([0.0, radius * 0.62]), radius * 0.20, rgb(iris * 1.35))
        # The lid and its lashes cast a shadow on the eyeball.
        top, bottom = upper[:, 1].min() - origin[1], lower[:, 1].max() - origin[1]
        shadow = np.clip(0.45 + 1.3 * (np.arange(len(patch)) - top) / max(bottom - top, 1), 0, 1)
        patch[:] = patch * shadow[:, None, None]
        disc(patch, at + radius * np.array([0.38 * np.sign(light.x), -0.36]), radius * 0.24, (255, 255, 255))

    paint_inside(person, np.concatenate([upper, lower[::-1]]), eyeball, feather=0.002 * scale)
    if identity.sex == "female":
        wing = upper[-1:] + 0.012 * scale * np.array([side, -0.5])
        fill(person, taper(np.concatenate([upper, wing]), 0.016 * scale, start=0.3), (34, 24, 22))
    else:
        fill(person, taper(upper, 0.011 * scale, start=0.3), (58, 42, 36))
    fill(person, taper(lower[4:], 0.006 * scale), rgb(skin * (0.55, 0.42, 0.40)))
    tear = pose.on_face((shape.lid_lower[0] + (0.004, -0.001)) * (side, 1))
    disc(person, tear, 0.005 * scale, rgb(skin * (0.92, 0.7, 0.68)))
    return pose.on_face(centre)


def draw_brow(person: Image, identity: Identity, shape: Shape, pose: Pose, side: int) -> None:
    """Draws the brow on the left (-1) or right (1) of the picture."""
    v = np.linspace(0, 1, len(shape.brow))
    half = 0.5 * identity.brows[1] * np.minimum(1, 0.62 + 2.2 * v) * (1 - v**2.2) ** 0.7 + 0.001
    spread = xy(0 * v, half)
    upper, lower = pose.on_face(np.stack([shape.brow - spread, shape.brow + spread]) * (side, 1))
    colour = rgb(np.array(identity.hair) * 0.72)

    def hairs(patch: Image, origin: Array) -> None:
        patch[:] = cv2.addWeighted(patch, 0.25, plain_image(patch, colour), 0.75, 0)
        roots, tips = curve(lower - origin, 40)[:-5], curve(upper - origin, 40)[5:]
        thickness = max(1, round(0.004 * pose.scale))
        strands = list(fixed(np.stack([roots, tips], axis=1)))
        cv2.polylines(patch, strands, False, colour, thickness, cv2.LINE_AA, 4)

    paint_inside(person, np.concatenate([upper, lower[::-1]]), hairs, feather=0.0055 * pose.scale)


def draw_beard(person: Image, hair: Image, identity: Identity, shape: Shape, pose: Pose) -> None:
    """Draws the beard with the colours of `hair`, a picture of the same size."""
    x, y = shape.mouth_corner
    nose, chin = shape.nose_y, shape.chin
    top, bottom = shape.lip_upper_out[12, 1], shape.lip_lower_out[12, 1]
    around = xy([0.05, x - 0.012, x + 0.022], [bottom + 0.020, y + 0.030, y - 0.005])
    parts = [  # the right half of each
        xy(
            [0.0, 0.06, x + 0.020, x + 0.016, 0.075, 0.0],
            [nose + 0.035, nose + 0.040, y - 0.012, y + 0.020, top + 0.010, top + 0.012],
        )
    ]
    if identity.beard_style == "goatee":
        edge = xy([0.125, 0.09, 0.0, 0.0], [chin - 0.07, chin - 0.005, chin + 0.012, bottom + 0.018])
        parts.append(np.concatenate([around, edge]))
    elif identity.beard_style == "full":
        jaw = shape.outline[20:31] + np.array([0.004, 0.008])
        middle = xy([0.0, 0.0], [chin + 0.012, bottom + 0.018])
        parts.append(np.concatenate([jaw, middle, around, xy([0.19, 0.275, 0.335], [0.31, 0.22, 0.05])]))
    mask = np.zeros(person.shape[:2], np.uint8)
    for part in parts:
        for side in (-1, 1):
            fill(mask, pose.on_face(part * (side, 1)), (215,))
    person[:] = blend(hair, person, soften(mask, 0.013 * pose.scale))


def draw_glasses(person: Image, identity: Identity, pose: Pose) -> None:
    """Draws the frame of the glasses."""
    eye_x, thick = identity.eyes[0], 0.013 * pose.scale
    frame = rgb(0.5 * np.array(identity.hair))
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cos, sin = np.cos(turn), np.sin(turn)
    square = 0.75 if identity.sex == "male" else 0.95  # 1 is an ellipse, 0 a rectangle
    ring = xy(np.sign(cos) * np.abs(cos) ** square, np.sign(sin) * np.abs(sin) ** square) * (0.125, 0.092)
    for side in (-1, 1):
        rim = ring + np.array([side * eye_x * 1.02, 0.018])
        stroke(person, pose.project(rim, skin_depth(rim) + 0.05), thick, frame, closed=True)
        temple = xy([side * (eye_x * 1.02 + 0.122), side * 0.385], [0.0, -0.015])
        stroke(person, pose.project(temple, np.array([0.3, 0.0])), thick, frame)
    bridge = curve(xy([0.117 - eye_x, 0.0, eye_x - 0.117], [0.004, -0.012, 0.004]), 9)
    stroke(person, pose.project(bridge, 0.44), thick, frame)
