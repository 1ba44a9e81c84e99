"""Draws a person from identity, action units, head pose and lighting.

Every part is a curve in face heights (see :mod:`fervid.synthetic.pose`). It is moved by facial action units, placed at
its depth on the head, rotated by the pose and filled with one colour. A coarse light map then shades skin, hair and
clothes together, which makes the result look like a face rather than a cartoon.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from fervid.synthetic.anatomy import Shape
from fervid.synthetic.brushes import Colour, Image, blend, fill, plain_image, rgb, soften, stroke
from fervid.synthetic.curves import Array, curve, mirrored, taper, xy
from fervid.synthetic.features import draw_beard, draw_brow, draw_eye, draw_glasses, draw_mouth
from fervid.synthetic.hair import HAIR_LENGTHS, hair_layers
from fervid.synthetic.identity import Identity
from fervid.synthetic.lighting import GRID_LEFT, GRID_STEP, GRID_TOP, Light, light_map
from fervid.synthetic.pose import Pose, skin_depth


def draw_person(
    picture: Image,
    identity: Identity,
    activity: Mapping[int, float],
    pose: Pose,
    light: Light,
    shirt: Colour,
    gaze: tuple[float, float],
) -> tuple[Array, Array]:
    """Draws head and shoulders into a picture, in place.

    Args:
        picture: the background, uint8 (H, W, 3) RGB.
        identity: the person.
        activity: activity of each of `ACTION_UNITS`.
        pose: the head pose.
        light: the lighting.
        shirt: RGB colour of the clothes.
        gaze: gaze direction to the right and down, as a fraction of the eye's half width.

    Returns:
        The eyes (2, 2) as x, y in pixels, the one on the left of the picture first, and the outline (N, 2).
    """
    height, width = picture.shape[:2]
    x0, x1 = (int(np.clip(pose.x + side * 1.35 * pose.scale, 0, width)) for side in (-1, 1))
    y0 = int(np.clip(pose.y - 1.1 * pose.scale, 0, height))
    region = picture[y0:, x0:x1]
    near = Pose(pose.x - x0, pose.y - y0, pose.scale, pose.roll, pose.yaw, pose.pitch)
    shape = Shape(identity, activity)

    hair, behind, front = hair_layers(identity, near, region.shape[:2])
    person, cover = hair.copy(), behind.copy()
    throat = _draw_body(person, cover, identity, near, shirt)
    outline = _draw_head(person, cover, identity, shape, near)
    if identity.beard:
        draw_beard(person, hair, identity, shape, near)
    shadows = _cast_shadows(outline, throat, front, light, near)
    _draw_creases(person, shadows, identity, activity, shape, near)
    draw_mouth(person, identity, shape, near)
    eyes = np.stack([draw_eye(person, identity, shape, near, side, light, gaze) for side in (-1, 1)])
    for side in (-1, 1):
        draw_brow(person, identity, shape, near, side)
    person = blend(hair, person, front)
    np.maximum(cover, front, out=cover)
    if identity.spectacles:
        draw_glasses(person, identity, near)
    shade = cv2.warpAffine(
        light_map(identity, activity, shape, near, light),
        near.affine(GRID_STEP, GRID_LEFT, GRID_TOP, 0.0),
        region.shape[1::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )
    region[:] = blend(cv2.multiply(person, shade, dtype=cv2.CV_8U), region, cover)
    return eyes + np.array([x0, y0]), outline + np.array([x0, y0])


def _draw_body(person: Image, cover: Image, identity: Identity, pose: Pose, shirt: Colour) -> Image:
    """Draws shoulders and neck; returns the mask of the visible skin of the neck."""
    still = Pose(pose.x, pose.y, pose.scale, 0.3 * pose.roll)  # the shoulders follow the head only in part
    male = identity.sex == "male"
    neck, shoulder = (0.235, 1.0) if male else (0.180, 0.84)
    x = [neck, neck * 0.98, neck * 1.25, 0.6 * shoulder, shoulder, shoulder * 1.12, shoulder * 1.12]
    body = still.project(mirrored(curve(xy(x, [0.25, 0.62, 0.74, 0.84, 1.0, 1.5, 4.0]), 40)), 0.0)
    fill(person, body, shirt)
    fill(cover, body, (255,))
    collar = xy([0.16, 0.0], [0.79, 0.815]) if male else xy([0.15, 0.0], [0.82, 0.87])
    half = np.concatenate([xy([neck, neck * 0.98, neck * 1.16], [0.25, 0.62, 0.715]), collar])
    skin = still.project(mirrored(curve(half, 24)), 0.0)
    fill(person, skin, rgb(0.9 * np.array(identity.skin)))
    stroke(person, skin[14:-14], 0.022 * pose.scale, rgb(0.78 * np.array(shirt)))
    throat = np.zeros_like(cover)
    fill(throat, skin, (255,))
    return throat


def _draw_head(person: Image, cover: Image, identity: Identity, shape: Shape, pose: Pose) -> Array:
    """Draws ears and face without eyes, brows and mouth; returns the outline in pixels."""
    skin, cheek = np.array(identity.skin), identity.face[0]
    ear = xy([0.350, 0.385, 0.420, 0.425, 0.405, 0.385, 0.355], [-0.03, -0.065, -0.05, 0.02, 0.10, 0.165, 0.16])
    bowl = xy([0.378, 0.402, 0.402, 0.385], [-0.02, -0.02, 0.04, 0.09])
    for side in () if identity.hair_style in HAIR_LENGTHS else (-cheek, cheek):
        edge = pose.project(curve(ear * (side, 1), 24, closed=True), -0.05)
        fill(person, edge, rgb(0.9 * skin))
        fill(cover, edge, (255,))
        inside = pose.project(curve(bowl * (side, 1), 12), -0.05)
        fill(person, taper(inside, 0.016 * pose.scale), rgb(0.68 * skin))
    outline = pose.project(shape.outline, 0.06)
    fill(person, outline, identity.skin)
    fill(cover, outline, (255,))
    return outline


def _cast_shadows(outline: Array, throat: Image, front: Image, light: Light, pose: Pose) -> Image:
    """Returns the shadows of the jaw on the neck and of the hair on the forehead, uint8 (H, W)."""
    shadows = np.zeros_like(throat)
    fill(shadows, outline + np.array([-0.035 * light.x, 0.070]) * pose.scale, (200,))
    np.minimum(shadows, throat, out=shadows)
    fill(shadows, outline, (0,))
    shift, eyes = round(0.025 * pose.scale), round(max(0.0, pose.y))
    np.maximum(shadows[shift:eyes], front[: max(0, eyes - shift)] // 2, out=shadows[shift:eyes])
    return shadows


def _draw_creases(
    person: Image, mask: Image, identity: Identity, a: Mapping[int, float], shape: Shape, pose: Pose
) -> None:
    """Darkens the skin at the shadows in `mask` and at folds, wrinkles and nostrils."""
    age, half, nose_y = identity.age, shape.nose_half, shape.nose_y
    (mouth_x, mouth_y), (brow_x, brow_y) = shape.mouth_corner, shape.brow[0]
    lip_y, (lid_x, lid_y) = shape.lip_lower_out[12, 1], shape.lid_upper[-1]
    forehead = shape.brow[:12:3] * (1, 0.45) - (0.0, 0.055)
    worry = min(0.5, (0.3 * a[1] + 0.5 * a[2]) * (0.3 + 0.7 * age) + 0.05 * age)
    smile = min(0.72, 0.06 + 0.22 * age + 0.55 * a[12] + 0.55 * a[9] + 0.35 * a[10] + 0.1 * a[20])
    bag = min(0.6, 0.10 + 0.25 * age + 0.40 * a[6] + 0.25 * a[7])

    # Curve on the right half, width in face heights, darkness from 0 to 1; wide, soft strokes first.
    cheek_x = [half * 1.02, half + 0.035, mouth_x + 0.028, mouth_x + 0.034]
    cheek_y = [nose_y - 0.035, nose_y + 0.01, mouth_y - 0.045, mouth_y + 0.005]
    folds = [
        (xy(cheek_x, cheek_y), 0.040, smile),
        (shape.lid_lower[3:18] + np.array([0.0, 0.020]), 0.026, bag),
        (xy([0.0, 0.030, 0.060], lip_y + np.array([0.024, 0.026, 0.038])), 0.018, 0.28 + 0.4 * a[17]),
    ]
    for level in (0.075, 0.13):
        start = np.array([[0.0, forehead[0, 1]]])
        folds.append((np.concatenate([start, forehead]) - (0.0, level), 0.024, worry))
    wing = xy(half * np.array([0.72, 1.0, 1.06, 0.86]), nose_y + np.array([-0.052, -0.040, -0.012, 0.004]))
    frown = xy(brow_x - np.array([0.030, 0.034, 0.028]), brow_y + np.array([-0.040, 0.0, 0.035]))
    pit_y = mouth_y + np.array([-0.010, 0.004, 0.022 + 0.012 * a[15]])
    pit = xy(mouth_x + np.array([0.002, 0.012, 0.008]), pit_y)
    lines = [
        (wing, 0.013, 0.62),
        (shape.lid_fold, 0.010, 0.62),
        (frown, 0.013, 0.62 * a[4]),
        (pit, 0.014, 0.4 + 0.25 * a[15] + 0.2 * a[12]),
    ]
    for tilt in (-0.030, 0.0, 0.028):  # crow's feet
        foot = xy(lid_x + np.array([0.014, 0.034, 0.052]), lid_y + np.array([0.4, 0.8, 1.5]) * tilt)
        lines.append((foot, 0.008, 0.5 * a[6] * (0.35 + 0.65 * age)))
    for level in (0.02, 0.05):  # across the bridge of the nose
        wrinkle = xy([0.0, 0.022, 0.048], level + np.array([0.016, 0.006, -0.016]))
        lines.append((wrinkle, 0.011, 0.62 * a[9]))

    for strokes, softness in ((folds, 0.012), (lines, 0.004)):
        curves = np.stack([curve(points, 14) for points, _, _ in strokes])
        widths = np.array([width for _, width, _ in strokes])[:, None] * pose.scale
        for side in (-1, 1):
            edges = taper(pose.on_face(curves * (side, 1)), widths)
            for edge, (_, _, darkness) in zip(edges, strokes, strict=True):
                fill(mask, edge, (255 * darkness,))
        mask = soften(mask, softness * pose.scale)
    nostril_y = nose_y + np.array([-0.006, -0.018, -0.010, 0.0, 0.003])
    nostril = xy([0.016, 0.032, half * 0.66, half * 0.60, 0.026], nostril_y)
    under = float(skin_depth(nostril).mean()) + 0.05
    for side in (-1, 1):
        fill(mask, pose.project(curve(nostril * (side, 1), 16, closed=True), under), (205,))
    mask = soften(mask, 0.004 * pose.scale)
    person[:] = blend(plain_image(person, np.array(identity.skin) * (0.42, 0.27, 0.24)), person, mask)
