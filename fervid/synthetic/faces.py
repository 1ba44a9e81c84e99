"""One face, drawn from nothing: who it is, what its muscles do, how the head is held and how it is lit.

The face lives in *face heights*: the distance from hairline to chin is 1, the origin lies between the eyes, x
points to the right of the picture and y down. Every part is a curve in that plane, moved by facial action
units, lifted to the depth it has on a head, turned by the pose and painted in plain colour. One coarse map of
light, made from bumps (nose, cheeks, sockets, lips), then shades skin, hair and clothes together: that makes
it a face rather than a cartoon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fervid.schema.errors import InputError

Array = NDArray[Any]
Image = NDArray[Any]
Colour = tuple[float, float, float]

ACTION_UNITS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    24: "lip presser",
    25: "lips part",
    26: "jaw drop",
    43: "eyes closed",
}
"""The muscles by their number in the Facial Action Coding System (Ekman & Friesen 1978).

Activity 0 is rest, 1 is full.
"""

# ------------------------------------------------------------------------------------------------ who it is

SKINS = (  # RGB, light to deep
    (238, 196, 168),
    (232, 184, 152),
    (222, 172, 136),
    (214, 160, 120),
    (190, 134, 96),
    (158, 106, 74),
    (134, 90, 65),
    (110, 74, 56),
)
HAIRS = (
    (28, 23, 22),
    (52, 35, 27),
    (84, 55, 36),
    (120, 80, 46),
    (172, 128, 76),
    (205, 168, 112),
    (134, 62, 34),
    (132, 128, 126),
)
IRISES = ((72, 44, 26), (98, 62, 34), (122, 96, 52), (84, 112, 84), (84, 118, 152), (110, 130, 142))
MALE_STYLES = ("short", "swept", "buzz", "curly", "receding", "tousled")
FEMALE_STYLES = ("long", "bob", "fringe", "bun", "curls", "swept_long")
BEARDS = ("full", "none", "goatee", "none", "moustache")
# Each number's middle, and the share of it by which people differ.
BUILDS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "male": {
        "face": ((1.0, 0.05), (1.04, 0.06), (1.12, 0.15), (1.02, 0.05)),
        "eyes": ((0.170, 0.05), (0.086, 0.07), (0.039, 0.12)),
        "brows": ((0.108, 0.1), (0.026, 0.2), (0.018, 0.5)),
        "nose": ((1.06, 0.14), (1.0, 0.08), (1.0, 0.4)),
        "mouth": ((0.134, 0.1), (0.024, 0.25), (0.034, 0.2), (1.0, 0.03)),
    },
    "female": {
        "face": ((1.0, 0.05), (0.95, 0.06), (0.92, 0.15), (0.98, 0.05)),
        "eyes": ((0.170, 0.05), (0.086, 0.07), (0.044, 0.12)),
        "brows": ((0.118, 0.1), (0.018, 0.2), (0.026, 0.5)),
        "nose": ((0.95, 0.14), (1.0, 0.08), (1.0, 0.4)),
        "mouth": ((0.128, 0.1), (0.029, 0.25), (0.040, 0.2), (1.0, 0.03)),
    },
}
HABITS = (1, 2, 4, 5, 7, 12, 15, 17, 43, 10)  # action units that a resting face may show a little of


@dataclass(frozen=True)
class Identity:
    """A person, by everything that stays the same from clip to clip.

    Attributes:
        number: which person, from 1.
        subject: the name of the person in a manifest, such as `"s01"`.
        sex: `"male"` (odd numbers, as RAVDESS numbers its actors) or `"female"`.
        spectacles: whether the person wears glasses.
        beard: whether the person has a beard or a moustache.
        skin: RGB colour of the skin, 0 to 255.
        hair: RGB colour of hair, brows and beard.
        iris: RGB colour of the eyes.
        lip: RGB colour of the lips.
        hair_style: one of `MALE_STYLES` or `FEMALE_STYLES`.
        beard_style: one of `BEARDS`.
        face: widths of cheeks, jaw and chin, and length of the lower face, as factors near 1.
        eyes: distance of the eyes from the middle, half width, opening and tilt, in face heights.
        brows: height above the eyes, thickness, arch and tilt, in face heights.
        nose: width, length and bridge, as factors near 1.
        mouth: half width, thickness of upper and lower lip in face heights, and height as a factor near 1.
        age: 0 (smooth) to 1 (lined).
        resting: activity of each action unit when nothing is felt, in the order of `ACTION_UNITS`.
        expressiveness: what the activity of each action unit is multiplied with, in the same order.
    """

    number: int
    subject: str
    sex: str
    spectacles: bool
    beard: bool
    skin: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    hair_style: str
    beard_style: str
    face: tuple[float, ...]
    eyes: tuple[float, ...]
    brows: tuple[float, ...]
    nose: tuple[float, ...]
    mouth: tuple[float, ...]
    age: float
    resting: tuple[float, ...]
    expressiveness: tuple[float, ...]


def make_identity(number: int, seed: int) -> Identity:
    """Make up a person.

    Args:
        number: which person, from 1; odd numbers are men, even numbers women.
        seed: whose family of persons.

    Returns:
        The same person for the same arguments, whoever was made before.

    Raises:
        InputError: if `number` is below 1.
    """
    if number < 1:
        raise InputError(f"there is no identity {number}: count them from 1.")
    # Cards are dealt from decks the whole family shares, so that neighbours differ and every style occurs.
    deck = np.random.default_rng([seed, 0])
    skin_order, style_order = deck.permutation(len(SKINS)), deck.permutation(len(MALE_STYLES))
    glasses_order, beard_order = deck.permutation(4), deck.permutation(len(BEARDS))
    rng = np.random.default_rng([seed, number])
    male, turn = number % 2 == 1, (number - 1) // 2
    sex = "male" if male else "female"

    def build(part: str) -> tuple[float, ...]:
        return tuple(float(middle * (1 + rng.uniform(-1, 1) * share)) for middle, share in BUILDS[sex][part])

    tone = int(skin_order[number % len(SKINS)])
    skin = np.array(SKINS[tone]) * rng.uniform(0.96, 1.03)
    # Fair and red hair goes with the lighter half of the skins, as it mostly does; so do light eyes.
    hair = np.array(HAIRS[rng.integers(len(HAIRS) if tone < 4 else 2)]) * rng.uniform(0.85, 1.2)
    iris = np.array(IRISES[rng.integers(len(IRISES) if tone < 4 else 2)])
    redness = rng.uniform(0.35, 0.6) + (0.0 if male else 0.2)
    lip = skin * (1 - redness) + np.array((172, 74, 78)) * (0.55 + 0.45 * skin[0] / 255) * redness
    beard_style = BEARDS[beard_order[turn % len(BEARDS)]] if male else "none"
    resting = dict.fromkeys(ACTION_UNITS, 0.0)
    resting |= {int(unit): float(rng.uniform(0.06, 0.26)) for unit in rng.permutation(HABITS)[:4]}
    return Identity(
        number=number,
        subject=f"s{number:02d}",
        sex=sex,
        spectacles=bool(glasses_order[turn % 4] == (0 if male else 1)),
        beard=beard_style != "none",
        skin=_colour(skin),
        hair=_colour(hair),
        iris=_colour(iris),
        lip=_colour(lip),
        hair_style=(MALE_STYLES if male else FEMALE_STYLES)[style_order[turn % len(style_order)]],
        beard_style=beard_style,
        face=build("face"),
        eyes=(*build("eyes"), float(rng.uniform(-0.004, 0.012))),
        brows=(*build("brows"), float(rng.uniform(-0.012, 0.012))),
        nose=build("nose"),
        mouth=build("mouth"),
        age=float(rng.beta(1.6, 2.4)),
        resting=tuple(resting.values()),
        expressiveness=tuple(rng.uniform(0.8, 1.15, len(ACTION_UNITS)).tolist()),
    )


# ------------------------------------------------------------------------------ how it is held, how it is lit


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
        return self.project(points, _depth(points))

    def affine(self, step: float, left: float, top: float, depth: float) -> Array:
        """The 2 x 3 matrix from (column, row) of a grid with cells of `step` face heights to pixels.

        The grid's first cell lies at (left, top).
        """
        corners = np.array([[left, top], [left + step, top], [left, top + step]])
        first, right, below = self.project(corners, depth)
        return np.stack([right - first, below - first, first], axis=1)


@dataclass(frozen=True)
class Light:
    """Where the light comes from.

    Attributes:
        x: from the left (negative) or the right of the picture, beside 0.9 from the front.
        y: from above when negative.
        ambient: share of light that comes from everywhere, 0 to 1.
        tint: gain of red, green and blue.
    """

    x: float
    y: float
    ambient: float
    tint: Colour


def _depth(points: Array) -> Array:
    """How far skin at points (..., 2) lies before the plane of the ears, in face heights."""
    return 0.4 * np.sqrt(np.maximum(0, 1 - (points[..., 0] / 0.47) ** 2 - (points[..., 1] / 0.8) ** 2))


# ----------------------------------------------------------------------------------------------- its curves


class Shape:
    """The curves of one face at one moment, in face heights, as points (N, 2).

    Brow, lids and eye are those on the right of the picture; the others are their mirror image.
    """

    def __init__(self, identity: Identity, activity: Mapping[int, float]) -> None:
        """Let the muscles of `identity` be active as `activity` says, an entry for each of `ACTION_UNITS`."""
        self.jaw_drop = 0.095 * activity[26] - 0.006 * activity[17]
        self.chin = 0.565 * identity.face[3] + self.jaw_drop
        self._outline(identity, activity)
        self._mouth(identity, activity)
        self._eye(identity, activity)
        self._brow(identity, activity)
        wide, long, _ = identity.nose
        self.nose_half = 0.076 * wide * (1 + 0.10 * activity[9] + 0.08 * activity[12])
        self.nose_y = 0.222 * long - 0.016 * activity[9] - 0.006 * activity[10]

    def _outline(self, identity: Identity, a: Mapping[int, float]) -> None:
        cheek, jaw, chin, length = identity.face
        drop, smile = self.jaw_drop, 0.006 * a[12]
        x = [0.0, 0.2, 0.325 * cheek, 0.372 * cheek, 0.368 * cheek, 0.352 * cheek + smile]
        y = [-0.62, -0.585, -0.43, -0.2, 0.0, 0.15]
        x += [0.315 * jaw + smile, 0.240 * jaw, 0.130 * chin, 0.055 * chin]
        lower = [(0.32, 0.4), (0.445, 0.8), (0.537, 1.0), (0.562, 1.0)]
        y += [height * length + share * drop for height, share in lower]
        half = _xy(x, y)
        self.outline = _smooth(np.concatenate([half, (half * (-1, 1))[:0:-1]]), 64, closed=True)

    def _mouth(self, identity: Identity, a: Mapping[int, float]) -> None:
        half, upper, lower, height = identity.mouth
        u = np.linspace(-1, 1, 25)
        arc = np.maximum(0, 1 - u**2)
        self.mouth_y = 0.352 * identity.face[3] * height
        stretch = 0.030 * a[12] + 0.026 * a[20] - 0.045 * a[18] - 0.012 * a[26] + 0.006 * a[15]
        self.mouth_half = half + stretch
        corner = -0.006 - 0.058 * a[12] + 0.046 * a[15] + 0.010 * a[20] + 0.004 * a[17]
        self.mouth_corner = np.array([self.mouth_half, self.mouth_y + corner * 1.25])
        # A smile draws the upper lip straight, so it opens by the lower lip.
        rise = (0.020 * a[10] + 0.006 * a[9] + 0.005 * a[25]) * (1 - 0.5 * min(1.0, a[12]))
        fall = 0.014 * a[25] + 0.026 * a[25] * a[12] + 0.95 * max(0.0, self.jaw_drop)
        bend = corner * (0.25 + np.abs(u) ** 1.8) - 0.003 * np.cos(3 * np.pi * u) * arc
        seam = self.mouth_y - 0.012 * a[17] + bend
        press = 1 - 0.6 * a[24] - 0.25 * a[12] * (1 - a[18]) - 0.1 * a[20]
        pout = 1 + 0.25 * a[17] + 0.2 * a[18]
        bow = 1 + 0.28 * np.exp(-(((np.abs(u) - 0.22) / 0.16) ** 2)) - 0.12 * np.exp(-((u / 0.1) ** 2))
        x, up, low = u * self.mouth_half, seam - rise * arc**0.8, seam + fall * arc**0.7
        self.lip_upper_in, self.lip_lower_in = _xy(x, up), _xy(x, low)
        self.lip_upper_out = _xy(x, up - upper * press * bow * arc**0.65)
        self.lip_lower_out = _xy(x, low + lower * press * pout * arc**0.75)

    def _eye(self, identity: Identity, a: Mapping[int, float]) -> None:
        eye_x, half, opening, tilt = identity.eyes
        u = np.linspace(-1, 1, 21)
        arc = 1 - u**2
        lift = 0.025 * a[5] - 0.012 * a[7] - 0.006 * a[6] - 0.010 * a[4] - 0.008 * a[9]
        raised = 0.007 * a[7] + 0.010 * a[6] + 0.007 * a[9] + 0.004 * a[12]
        upper, lower = max(0.008, opening + lift), 0.021 + 0.004 * a[5] - raised
        shut = min(1.0, a[43])
        slant = (0.006 * a[1] - tilt) * u
        above = (1 - np.abs(u + 0.10 * arc) ** 2.3) * (1 - shut) * upper - arc * shut * (lower - 0.004)
        below = lower * (1 - np.abs(u - 0.12 * arc) ** 2.2)
        fold = 0.016 - 0.006 * a[5] + 0.006 * shut + 0.008 * max(a[2], a[1])
        crease = upper * (1 - np.abs(u) ** 2.4) + fold * (0.45 + 0.55 * arc)
        self.eye = np.array([eye_x, -0.006])
        self.lid_upper = _xy(eye_x + u * half, slant - above)
        self.lid_lower = _xy(eye_x + u * half, slant + below)
        self.lid_fold = _xy(eye_x + u * half * 1.04, slant - crease)

    def _brow(self, identity: Identity, a: Mapping[int, float]) -> None:
        height, _, arch, tilt = identity.brows
        v = np.linspace(0, 1, 13)  # from the inner to the outer end
        level = height + arch * np.sin(np.pi * v**1.2) - 0.022 * v**3 - tilt * (v - 0.5)
        raised = 0.054 * a[1] * (1 - v) ** 1.3 + 0.060 * a[2] * np.sin(np.pi * (0.12 + 0.75 * v)) * v**0.5
        # The inner end that fear and sadness raise resists the pull down.
        lowered = a[4] * (0.052 - 0.036 * v) * (1 - 0.7 * min(1.0, a[1]))
        lowered = lowered + 0.012 * a[9] * (1 - v) + 0.004 * a[6] * v
        inner, outer = 0.066 - 0.020 * a[4] * (1 - 0.3 * a[1]), identity.eyes[0] + 1.35 * identity.eyes[1]
        self.brow = _xy(inner + (outer - inner) * v, lowered - raised - level)


# ---------------------------------------------------------------------------------------------- its drawing


def draw_person(
    picture: Image,
    identity: Identity,
    activity: Mapping[int, float],
    pose: Pose,
    light: Light,
    shirt: Colour,
    gaze: tuple[float, float],
) -> tuple[Array, Array]:
    """Draw head and shoulders into a picture, in place.

    Args:
        picture: the background, uint8 (H, W, 3) RGB.
        identity: who.
        activity: activity of each of `ACTION_UNITS`.
        pose: how the head is held.
        light: where the light comes from.
        shirt: RGB colour of the clothes.
        gaze: where the eyes look, right and down, as a share of the eye's half width.

    Returns:
        The eyes (2, 2) as x, y in pixels, the one on the left of the picture first, and the outline (N, 2).
    """
    height, width = picture.shape[:2]
    x0, x1 = (int(np.clip(pose.x + side * 1.35 * pose.scale, 0, width)) for side in (-1, 1))
    y0 = int(np.clip(pose.y - 1.1 * pose.scale, 0, height))
    region = picture[y0:, x0:x1]
    near = Pose(pose.x - x0, pose.y - y0, pose.scale, pose.roll, pose.yaw, pose.pitch)
    shape = Shape(identity, activity)

    hair, behind, front = _hair_layers(identity, near, region.shape[:2])
    person, cover = hair.copy(), behind.copy()
    throat = _draw_body(person, cover, identity, near, shirt)
    outline = _draw_head(person, cover, identity, shape, near)
    if identity.beard:
        _draw_beard(person, hair, identity, shape, near)
    shadows = _cast_shadows(outline, throat, front, light, near)
    _draw_creases(person, shadows, identity, activity, shape, near)
    _draw_mouth(person, identity, shape, near)
    eyes = np.stack([_draw_eye(person, identity, shape, near, side, light, gaze) for side in (-1, 1)])
    for side in (-1, 1):
        _draw_brow(person, identity, shape, near, side)
    person = _blend(hair, person, front)
    np.maximum(cover, front, out=cover)
    if identity.spectacles:
        _draw_glasses(person, identity, near)
    shade = cv2.warpAffine(
        _light_map(identity, activity, shape, near, light),
        near.affine(GRID_STEP, GRID_LEFT, GRID_TOP, 0.0),
        region.shape[1::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )
    region[:] = _blend(cv2.multiply(person, shade, dtype=cv2.CV_8U), region, cover)
    return eyes + np.array([x0, y0]), outline + np.array([x0, y0])


def _draw_body(person: Image, cover: Image, identity: Identity, pose: Pose, shirt: Colour) -> Image:
    """Draw shoulders and neck; returns where the skin of the neck shows."""
    still = Pose(pose.x, pose.y, pose.scale, 0.3 * pose.roll)  # shoulders follow the head only in part
    male = identity.sex == "male"
    neck, shoulder = (0.235, 1.0) if male else (0.180, 0.84)
    x = [neck, neck * 0.98, neck * 1.25, 0.6 * shoulder, shoulder, shoulder * 1.12, shoulder * 1.12]
    body = still.project(_mirrored(_smooth(_xy(x, [0.25, 0.62, 0.74, 0.84, 1.0, 1.5, 4.0]), 40)), 0.0)
    _fill(person, body, shirt)
    _fill(cover, body, (255,))
    collar = _xy([0.16, 0.0], [0.79, 0.815]) if male else _xy([0.15, 0.0], [0.82, 0.87])
    half = np.concatenate([_xy([neck, neck * 0.98, neck * 1.16], [0.25, 0.62, 0.715]), collar])
    skin = still.project(_mirrored(_smooth(half, 24)), 0.0)
    _fill(person, skin, _colour(0.9 * np.array(identity.skin)))
    _stroke(person, skin[14:-14], 0.022 * pose.scale, _colour(0.78 * np.array(shirt)))
    throat = np.zeros_like(cover)
    _fill(throat, skin, (255,))
    return throat


def _draw_head(person: Image, cover: Image, identity: Identity, shape: Shape, pose: Pose) -> Array:
    """Draw ears and face without its parts; returns the outline in pixels."""
    skin, cheek = np.array(identity.skin), identity.face[0]
    ear = _xy([0.350, 0.385, 0.420, 0.425, 0.405, 0.385, 0.355], [-0.03, -0.065, -0.05, 0.02, 0.10, 0.165, 0.16])
    bowl = _xy([0.378, 0.402, 0.402, 0.385], [-0.02, -0.02, 0.04, 0.09])
    for side in () if identity.hair_style in HAIR_LENGTHS else (-cheek, cheek):
        edge = pose.project(_smooth(ear * (side, 1), 24, closed=True), -0.05)
        _fill(person, edge, _colour(0.9 * skin))
        _fill(cover, edge, (255,))
        inside = pose.project(_smooth(bowl * (side, 1), 12), -0.05)
        _fill(person, _taper(inside, 0.016 * pose.scale), _colour(0.68 * skin))
    outline = pose.project(shape.outline, 0.06)
    _fill(person, outline, identity.skin)
    _fill(cover, outline, (255,))
    return outline


def _cast_shadows(outline: Array, throat: Image, front: Image, light: Light, pose: Pose) -> Image:
    """Where the jaw shades the neck and the hair the forehead, uint8 (H, W)."""
    shadows = np.zeros_like(throat)
    _fill(shadows, outline + np.array([-0.035 * light.x, 0.070]) * pose.scale, (200,))
    np.minimum(shadows, throat, out=shadows)
    _fill(shadows, outline, (0,))
    shift, eyes = round(0.025 * pose.scale), round(max(0.0, pose.y))
    np.maximum(shadows[shift:eyes], front[: max(0, eyes - shift)] // 2, out=shadows[shift:eyes])
    return shadows


def _draw_creases(
    person: Image, mask: Image, identity: Identity, a: Mapping[int, float], shape: Shape, pose: Pose
) -> None:
    """Darken the skin where `mask` has shadows, and by folds, wrinkles and nostrils."""
    age, half, nose_y = identity.age, shape.nose_half, shape.nose_y
    (mouth_x, mouth_y), (brow_x, brow_y) = shape.mouth_corner, shape.brow[0]
    lip_y, (lid_x, lid_y) = shape.lip_lower_out[12, 1], shape.lid_upper[-1]
    forehead = shape.brow[:12:3] * (1, 0.45) - (0.0, 0.055)
    worry = min(0.5, (0.3 * a[1] + 0.5 * a[2]) * (0.3 + 0.7 * age) + 0.05 * age)
    smile = min(0.72, 0.06 + 0.22 * age + 0.55 * a[12] + 0.55 * a[9] + 0.35 * a[10] + 0.1 * a[20])
    bag = min(0.6, 0.10 + 0.25 * age + 0.40 * a[6] + 0.25 * a[7])

    # Curve on the right half, width in face heights, darkness from 0 to 1; first what is broad and soft.
    cheek_x = [half * 1.02, half + 0.035, mouth_x + 0.028, mouth_x + 0.034]
    cheek_y = [nose_y - 0.035, nose_y + 0.01, mouth_y - 0.045, mouth_y + 0.005]
    folds = [
        (_xy(cheek_x, cheek_y), 0.040, smile),
        (shape.lid_lower[3:18] + np.array([0.0, 0.020]), 0.026, bag),
        (_xy([0.0, 0.030, 0.060], lip_y + np.array([0.024, 0.026, 0.038])), 0.018, 0.28 + 0.4 * a[17]),
    ]
    for level in (0.075, 0.13):
        start = np.array([[0.0, forehead[0, 1]]])
        folds.append((np.concatenate([start, forehead]) - (0.0, level), 0.024, worry))
    wing = _xy(half * np.array([0.72, 1.0, 1.06, 0.86]), nose_y + np.array([-0.052, -0.040, -0.012, 0.004]))
    frown = _xy(brow_x - np.array([0.030, 0.034, 0.028]), brow_y + np.array([-0.040, 0.0, 0.035]))
    pit_y = mouth_y + np.array([-0.010, 0.004, 0.022 + 0.012 * a[15]])
    pit = _xy(mouth_x + np.array([0.002, 0.012, 0.008]), pit_y)
    lines = [
        (wing, 0.013, 0.62),
        (shape.lid_fold, 0.010, 0.62),
        (frown, 0.013, 0.62 * a[4]),
        (pit, 0.014, 0.4 + 0.25 * a[15] + 0.2 * a[12]),
    ]
    for tilt in (-0.030, 0.0, 0.028):  # crow's feet
        foot = _xy(lid_x + np.array([0.014, 0.034, 0.052]), lid_y + np.array([0.4, 0.8, 1.5]) * tilt)
        lines.append((foot, 0.008, 0.5 * a[6] * (0.35 + 0.65 * age)))
    for level in (0.02, 0.05):  # across the bridge of the nose
        wrinkle = _xy([0.0, 0.022, 0.048], level + np.array([0.016, 0.006, -0.016]))
        lines.append((wrinkle, 0.011, 0.62 * a[9]))

    for strokes, softness in ((folds, 0.012), (lines, 0.004)):
        curves = np.stack([_smooth(points, 14) for points, _, _ in strokes])
        widths = np.array([width for _, width, _ in strokes])[:, None] * pose.scale
        for side in (-1, 1):
            edges = _taper(pose.on_face(curves * (side, 1)), widths)
            for edge, (_, _, darkness) in zip(edges, strokes, strict=True):
                _fill(mask, edge, (255 * darkness,))
        mask = _soften(mask, softness * pose.scale)
    nostril_y = nose_y + np.array([-0.006, -0.018, -0.010, 0.0, 0.003])
    nostril = _xy([0.016, 0.032, half * 0.66, half * 0.60, 0.026], nostril_y)
    under = float(_depth(nostril).mean()) + 0.05
    for side in (-1, 1):
        _fill(mask, pose.project(_smooth(nostril * (side, 1), 16, closed=True), under), (205,))
    mask = _soften(mask, 0.004 * pose.scale)
    person[:] = _blend(_plain(person, np.array(identity.skin) * (0.42, 0.27, 0.24)), person, mask)


def _draw_mouth(person: Image, identity: Identity, shape: Shape, pose: Pose) -> None:
    curves = np.stack([shape.lip_upper_out, shape.lip_upper_in, shape.lip_lower_in, shape.lip_lower_out])
    top, upper, lower, bottom = pose.on_face(curves)
    lip, scale = np.array(identity.lip), pose.scale
    gape = float(np.max(lower[:, 1] - upper[:, 1]))

    def lips(patch: Image, origin: Array) -> None:
        _fill(patch, np.concatenate([top, upper[::-1]]) - origin, _colour(lip * 0.86))
        _fill(patch, np.concatenate([lower, bottom[::-1]]) - origin, _colour(lip))
        gloss = (lower[8:17] + bottom[8:17]) / 2
        _fill(patch, _taper(gloss - origin, 0.010 * scale), _colour(lip * 0.8 + 46))
        patch[:] = _soften(patch, 0.006 * scale)
        _fill(patch, _taper((upper + lower) / 2 - origin, 0.009 * scale), _colour(lip * 0.42))

    def cavity(patch: Image, origin: Array) -> None:
        patch[:] = (62, 22, 24)
        if gape > 0.05 * scale:
            back = 0.35 * upper[5:20] + 0.65 * lower[5:20]
            front = lower[5:20][::-1] + np.array([0, 0.02 * scale])
            _fill(patch, np.concatenate([back, front]) - origin, (158, 72, 74))
        # Teeth hang from the jaw, not from the lip: their edge is straighter than the lip's bow.
        gum = np.stack([upper[4:21, 0], 0.6 * upper[4:21, 1] + 0.4 * upper[[4, -5], 1].mean()], axis=1)
        long = min(0.55 * gape, 0.034 * scale) * (1 - np.linspace(-1, 1, 17) ** 4)
        teeth = np.concatenate([gum - (0, 0.03 * scale), (gum + _xy(0 * long, long))[::-1]])
        _fill(patch, teeth - origin, (226, 219, 206))
        patch[:] = _soften(patch, 0.005 * scale)

    _paint_inside(person, np.concatenate([top, bottom[::-1]]), lips, feather=0.006 * scale)
    if gape > 0.008 * scale:
        _paint_inside(person, np.concatenate([upper, lower[::-1]]), cavity, feather=0.003 * scale)


def _draw_eye(
    person: Image,
    identity: Identity,
    shape: Shape,
    pose: Pose,
    side: int,
    light: Light,
    gaze: tuple[float, float],
) -> Array:
    """Draw the eye on the left (-1) or right (1) of the picture; returns where it is in pixels (2,)."""
    scale, skin, iris = pose.scale, np.array(identity.skin), np.array(identity.iris)
    upper, lower = pose.on_face(np.stack([shape.lid_upper, shape.lid_lower]) * (side, 1))
    centre = shape.eye * (side, 1)
    pupil = pose.on_face(centre + np.array(gaze) * identity.eyes[1])
    radius = 0.042 * scale

    def eyeball(patch: Image, origin: Array) -> None:
        patch[:] = (236, 230, 226)
        at = pupil - origin
        _disc(patch, at, radius, _colour(iris * 0.45))
        _disc(patch, at, radius * 0.86, _colour(iris))
        _disc(patch, at, radius * 0.46, (14, 11, 11))
        _disc(patch, at + np.array([0.0, radius * 0.62]), radius * 0.20, _colour(iris * 1.35))
        # The lid and its lashes shade the eyeball.
        top, bottom = upper[:, 1].min() - origin[1], lower[:, 1].max() - origin[1]
        shadow = np.clip(0.45 + 1.3 * (np.arange(len(patch)) - top) / max(bottom - top, 1), 0, 1)
        patch[:] = patch * shadow[:, None, None]
        _disc(patch, at + radius * np.array([0.38 * np.sign(light.x), -0.36]), radius * 0.24, (255, 255, 255))

    _paint_inside(person, np.concatenate([upper, lower[::-1]]), eyeball, feather=0.002 * scale)
    if identity.sex == "female":
        wing = upper[-1:] + 0.012 * scale * np.array([side, -0.5])
        _fill(person, _taper(np.concatenate([upper, wing]), 0.016 * scale, start=0.3), (34, 24, 22))
    else:
        _fill(person, _taper(upper, 0.011 * scale, start=0.3), (58, 42, 36))
    _fill(person, _taper(lower[4:], 0.006 * scale), _colour(skin * (0.55, 0.42, 0.40)))
    tear = pose.on_face((shape.lid_lower[0] + (0.004, -0.001)) * (side, 1))
    _disc(person, tear, 0.005 * scale, _colour(skin * (0.92, 0.7, 0.68)))
    return pose.on_face(centre)


def _draw_brow(person: Image, identity: Identity, shape: Shape, pose: Pose, side: int) -> None:
    v = np.linspace(0, 1, len(shape.brow))
    half = 0.5 * identity.brows[1] * np.minimum(1, 0.62 + 2.2 * v) * (1 - v**2.2) ** 0.7 + 0.001
    spread = _xy(0 * v, half)
    upper, lower = pose.on_face(np.stack([shape.brow - spread, shape.brow + spread]) * (side, 1))
    colour = _colour(np.array(identity.hair) * 0.72)

    def hairs(patch: Image, origin: Array) -> None:
        patch[:] = cv2.addWeighted(patch, 0.25, _plain(patch, colour), 0.75, 0)
        roots, tips = _smooth(lower - origin, 40)[:-5], _smooth(upper - origin, 40)[5:]
        thickness = max(1, round(0.004 * pose.scale))
        strands = list(_fixed(np.stack([roots, tips], axis=1)))
        cv2.polylines(patch, strands, False, colour, thickness, cv2.LINE_AA, 4)

    _paint_inside(person, np.concatenate([upper, lower[::-1]]), hairs, feather=0.0055 * pose.scale)


def _draw_beard(person: Image, hair: Image, identity: Identity, shape: Shape, pose: Pose) -> None:
    x, y = shape.mouth_corner
    nose, chin = shape.nose_y, shape.chin
    top, bottom = shape.lip_upper_out[12, 1], shape.lip_lower_out[12, 1]
    around = _xy([0.05, x - 0.012, x + 0.022], [bottom + 0.020, y + 0.030, y - 0.005])
    parts = [  # each on the right half
        _xy(
            [0.0, 0.06, x + 0.020, x + 0.016, 0.075, 0.0],
            [nose + 0.035, nose + 0.040, y - 0.012, y + 0.020, top + 0.010, top + 0.012],
        )
    ]
    if identity.beard_style == "goatee":
        edge = _xy([0.125, 0.09, 0.0, 0.0], [chin - 0.07, chin - 0.005, chin + 0.012, bottom + 0.018])
        parts.append(np.concatenate([around, edge]))
    elif identity.beard_style == "full":
        jaw = shape.outline[20:31] + np.array([0.004, 0.008])
        middle = _xy([0.0, 0.0], [chin + 0.012, bottom + 0.018])
        parts.append(np.concatenate([jaw, middle, around, _xy([0.19, 0.275, 0.335], [0.31, 0.22, 0.05])]))
    mask = np.zeros(person.shape[:2], np.uint8)
    for part in parts:
        for side in (-1, 1):
            _fill(mask, pose.on_face(part * (side, 1)), (215,))
    person[:] = _blend(hair, person, _soften(mask, 0.013 * pose.scale))


def _draw_glasses(person: Image, identity: Identity, pose: Pose) -> None:
    eye_x, thick = identity.eyes[0], 0.013 * pose.scale
    frame = _colour(0.5 * np.array(identity.hair))
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cos, sin = np.cos(turn), np.sin(turn)
    square = 0.75 if identity.sex == "male" else 0.95  # 1 is an ellipse, 0 a rectangle
    ring = _xy(np.sign(cos) * np.abs(cos) ** square, np.sign(sin) * np.abs(sin) ** square) * (0.125, 0.092)
    for side in (-1, 1):
        rim = ring + np.array([side * eye_x * 1.02, 0.018])
        _stroke(person, pose.project(rim, _depth(rim) + 0.05), thick, frame, closed=True)
        temple = _xy([side * (eye_x * 1.02 + 0.122), side * 0.385], [0.0, -0.015])
        _stroke(person, pose.project(temple, np.array([0.3, 0.0])), thick, frame)
    bridge = _smooth(_xy([0.117 - eye_x, 0.0, eye_x - 0.117], [0.004, -0.012, 0.004]), 9)
    _stroke(person, pose.project(bridge, 0.44), thick, frame)


# ------------------------------------------------------------------------------------------------- its hair

HAIR_STEP, HAIR_LEFT, HAIR_TOP = 0.0045, -0.95, -1.05
HAIR_SIZE = (422, 467)  # columns and rows of a hair texture: up to x = 0.95 and y = 1.05 face heights
HAIR_LENGTHS = {"long": 0.98, "swept_long": 0.85, "bob": 0.46, "fringe": 0.62, "curls": 0.50}  # where it ends
HAIR_VOLUMES = {
    "buzz": 0.012,
    "receding": 0.02,
    "bun": 0.03,
    "short": 0.05,
    "swept": 0.075,
    "tousled": 0.09,
    "curly": 0.12,
    "curls": 0.17,
}
TUFTS = {"curly": 2.2, "curls": 2.6, "tousled": 2.0}  # how coarse the edge is; 1 for the others
_EVEN_HAIRLINE = (
    (0.350, 0.335, 0.255, 0.10, 0.0, -0.10, -0.255, -0.335, -0.350),
    (0.0, -0.22, -0.37, -0.42, -0.415, -0.42, -0.37, -0.22, 0.0),
)
HAIRLINES = {  # x and y from the right temple of the picture to the left; the even one for the others
    "fringe": (
        (0.335, 0.30, 0.15, 0.0, -0.15, -0.30, -0.335),
        (0.0, -0.16, -0.185, -0.19, -0.185, -0.16, 0.0),
    ),
    "bob": (
        (0.335, 0.32, 0.20, -0.02, -0.15, -0.29, -0.335),
        (0.0, -0.2, -0.34, -0.43, -0.30, -0.17, 0.0),
    ),
    "swept": (
        (0.345, 0.33, 0.26, 0.10, -0.1, -0.27, -0.33, -0.345),
        (0.0, -0.22, -0.35, -0.43, -0.40, -0.32, -0.2, 0.0),
    ),
    "swept_long": (
        (0.335, 0.31, 0.18, 0.08, -0.12, -0.28, -0.335),
        (0.0, -0.22, -0.40, -0.47, -0.36, -0.2, 0.0),
    ),
    "tousled": (
        (0.345, 0.33, 0.24, 0.14, 0.02, -0.1, -0.22, -0.33, -0.345),
        (0.0, -0.2, -0.30, -0.27, -0.33, -0.27, -0.31, -0.2, 0.0),
    ),
    "receding": (
        (0.355, 0.345, 0.27, 0.12, 0.0, -0.12, -0.27, -0.345, -0.355),
        (0.0, -0.25, -0.45, -0.51, -0.49, -0.51, -0.45, -0.25, 0.0),
    ),
}


def _hair_layers(identity: Identity, pose: Pose, size: tuple[int, ...]) -> tuple[Image, Image, Image]:
    """Colours of the hair over the whole region, where it lies behind the head, and where before it."""

    def place(texture: Image, depth: float, border: int) -> Image:
        matrix = pose.affine(HAIR_STEP, HAIR_LEFT, HAIR_TOP, depth)
        return cv2.warpAffine(texture, matrix, size[::-1], borderMode=border)

    behind, front = _hair_masks(identity)
    return (
        place(_hair_texture(identity), 0.03, cv2.BORDER_REPLICATE),
        place(behind, -0.12, cv2.BORDER_CONSTANT),
        place(front, 0.10, cv2.BORDER_CONSTANT),
    )


@lru_cache(maxsize=64)
def _hair_texture(identity: Identity) -> Image:
    """The colours of the hair, as if it covered everything, uint8 (rows, columns, 3)."""
    rng = np.random.default_rng([identity.number, 7])
    columns, rows = np.meshgrid(np.arange(HAIR_SIZE[0]), np.arange(HAIR_SIZE[1]))
    x, y = HAIR_LEFT + columns * HAIR_STEP, HAIR_TOP + rows * HAIR_STEP
    curly = identity.hair_style in ("curly", "curls")
    if curly:
        noise = rng.normal(size=x.shape)
        locks, frizz = cv2.GaussianBlur(noise, (0, 0), 3.0), cv2.GaussianBlur(noise[::-1], (0, 0), 1.2)
        strands = 5.5 * locks + 1.5 * frizz
    else:
        # Strands fan out from the parting and hang straight below the temples.
        parting = 0.12 if identity.hair_style.startswith("swept") else 0.0
        along = (x - parting) / (0.22 + np.clip(y + 0.75, 0, 0.75)) + 0.03 * np.sin(9 * y + 3 * x)
        fine, broad = rng.normal(size=600), np.convolve(rng.normal(size=600), np.ones(9) / 3, "same")
        strands = np.interp((along + 2.5) * 110, np.arange(600), 0.55 * fine + 0.8 * broad)
        strands = strands + 3 * cv2.GaussianBlur(rng.normal(size=x.shape), (0, 0), 6)
    gloss = np.exp(-(((np.hypot(x, 0.9 * (y + 0.1)) - 0.50) / 0.07) ** 2)) * (0.25 if curly else 0.5)
    depth = np.clip(0.30 * (y + 0.35), 0, 0.4)  # hair near the neck lies in the shade of the head
    tone = np.clip(1.0 + 0.16 * strands + gloss * (1 + 0.3 * strands) - depth, 0.35, 2.2)
    colours = np.array(identity.hair) * tone[..., None] + 14 * gloss[..., None]
    return np.clip(colours, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _hair_masks(identity: Identity) -> tuple[Image, Image]:
    """Where hair is behind the head and where it is before it, uint8 (rows, columns) each."""
    style, cheek = identity.hair_style, identity.face[0]
    behind, front = np.zeros(HAIR_SIZE[::-1], np.uint8), np.zeros(HAIR_SIZE[::-1], np.uint8)

    def cover(mask: Image, points: Array) -> None:
        _fill(mask, (points - (HAIR_LEFT, HAIR_TOP)) / HAIR_STEP, (255,))

    volume = HAIR_VOLUMES.get(style, 0.06)
    sides = np.array([0.372, 0.385]) * cheek + 0.4 * volume
    half = _xy([*-sides, -0.335 - volume, -0.2, 0.0], [0.02, -0.2, -0.45, -0.6 - volume, -0.635 - volume])
    crown = _smooth(np.concatenate([half, (half * (-1, 1))[-2::-1]]), 48)
    line = _smooth(_xy(*HAIRLINES.get(style, _EVEN_HAIRLINE)) * (cheek, 1), 48)
    cover(front, np.concatenate([crown, line]))
    if style in HAIR_LENGTHS:
        end, wide = HAIR_LENGTHS[style], 0.13 if style == "curls" else 0.05
        x = [0.0, 0.3, 0.42 + wide / 2, 0.43 + wide, 0.42 + wide, 0.36 + wide / 2, 0.2]
        y = [-0.66, -0.55, -0.2, 0.15, end * 0.7, end, end + 0.03]
        cover(behind, _mirrored(_smooth(_xy(x, y), 32)))
        x = [0.345, 0.40, 0.43 + wide * 0.8, 0.41 + wide, 0.345, 0.30, 0.335, 0.352]
        lock = _smooth(_xy(x, [-0.12, -0.1, 0.2, end * 0.72, end, end * 0.8, 0.3, 0.1]), 40, closed=True)
        for side in (-1, 1):
            cover(front, lock * (side, 1))
    elif style == "bun":
        turn = np.linspace(0, 2 * np.pi, 32)
        cover(behind, 0.155 * _xy(np.cos(turn), np.sin(turn)) - (0.0, 0.74))
    else:
        cover(behind, crown)
    return _ragged(behind, identity), _ragged(front, identity)


def _ragged(mask: Image, identity: Identity) -> Image:
    """Break the edge of a mask into tufts: smooth outlines look like helmets."""
    tuft = TUFTS.get(identity.hair_style, 1.0)
    thin = identity.hair_style == "buzz"
    grain = np.random.default_rng([identity.number, 8]).normal(size=mask.shape)
    long = 2.2 if tuft == 1.0 else 1.1
    noise = cv2.GaussianBlur(grain, (0, 0), 1.1 * tuft, sigmaY=long * tuft) * 2.6 * tuft
    soft = cv2.GaussianBlur(mask, (0, 0), 9.0 if thin else 3.0 * tuft) / 255
    edge = 4 * soft * (1 - soft)
    cover = np.clip((soft + 0.16 * noise * edge - 0.5) * 3.5 + 0.5, 0, 1)
    return (cover * (215 if thin else 255)).astype(np.uint8)


# ------------------------------------------------------------------------------------------------ its light

GRID_STEP, GRID_LEFT, GRID_TOP = 0.016, -0.65, -0.85
GRID_X = np.arange(GRID_LEFT, 0.651, GRID_STEP)
GRID_Y = np.arange(GRID_TOP, 1.051, GRID_STEP)


def _light_map(identity: Identity, a: Mapping[int, float], shape: Shape, pose: Pose, light: Light) -> Array:
    """How much light the upright head sends back, float32 (rows, columns, 3); 1 shows the plain colour."""
    eye_x, (wide, _, bridge) = identity.eyes[0], identity.nose
    mouth, nose, chin, lip = shape.mouth_y, shape.nose_y, shape.chin, float(shape.lip_lower_out[12, 1])
    cheek_y = 0.150 - 0.030 * max(a[6], a[12])
    cheek = 0.030 + 0.022 * max(a[6], 0.8 * a[12])
    mass = 1.0 if identity.sex == "male" else 0.7
    # x, y, width, height and how far it stands out; what lies off the middle has a twin on the other side.
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
    # Places that little light reaches, whatever its direction.
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
    diffuse = np.maximum(0, (facing + 0.25) / 1.25)  # a broad lamp still reaches what faces a little away
    level = np.clip((light.ambient + (1.12 - light.ambient) * diffuse) * (1 - hollow), 0.16, 1.3)
    shine = 0.12 * np.maximum(0, facing) ** 24
    # Light that passes through skin comes out red, so shadows are warm.
    red = level * (1.13 - 0.13 * level)
    green = level * (0.95 + 0.05 * level - 0.10 * blush)
    blue = level * (0.90 + 0.10 * level - 0.085 * blush)
    channels = (np.stack([red, green, blue]) + shine) * np.reshape(light.tint, (3, 1, 1))
    return cv2.merge(list(channels.astype(np.float32)))


def _gaussians(rows: Sequence[tuple[float, ...]], pose: Pose) -> tuple[Array, Array, Array]:
    """The sum of Gaussian bumps over the grid of light, and its slopes along x and y.

    A Gaussian is a row times a column, so the whole sum is one matrix product.
    """
    table = np.array([*rows, *((-x, *rest) for x, *rest in rows if x > 0)])
    depth = _depth(table)
    x = table[:, :1] * np.cos(pose.yaw) + depth[:, None] * np.sin(pose.yaw)
    y = table[:, 1:2] * np.cos(pose.pitch) + depth[:, None] * np.sin(pose.pitch)
    wide, high, size = table[:, 2:3], table[:, 3:4], table[:, 4:5]
    u, v = (GRID_X - x) / wide, (GRID_Y - y) / high
    along_x, along_y = np.exp(-(u**2) / 2), np.exp(-(v**2) / 2) * size
    return along_y.T @ along_x, along_y.T @ (-u / wide * along_x), (-v / high * along_y).T @ along_x


@lru_cache(maxsize=1)
def _head_normals() -> tuple[Array, Array]:
    """How a smooth head faces, to the right and down, over the grid of light."""
    x, y = np.meshgrid(GRID_X, GRID_Y)
    # Below the chin come neck and shoulders, wider and looking a little up.
    body = np.clip((y - 0.56) / 0.15, 0, 1)
    across, down = x / (0.47 + 0.7 * body), (y - 0.02) / 0.66
    normal_x = 0.92 * np.sign(x) * np.minimum(1, np.abs(across)) ** 1.7
    normal_y = 0.62 * np.sign(down) * np.minimum(1, np.abs(down)) ** 1.8
    return normal_x, normal_y * (1 - body) - 0.18 * body


# -------------------------------------------------------------------------------------------------- brushes


def _colour(values: Array) -> Colour:
    red, green, blue = np.clip(values, 0, 255).tolist()
    return red, green, blue


def _xy(x: Array | Sequence[float], y: Array | Sequence[float]) -> Array:
    return np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1)


def _mirrored(half: Array) -> Array:
    """A closed curve from its right half."""
    return np.concatenate([half, (half * (-1, 1))[::-1]])


def _smooth(points: Array, count: int, closed: bool = False) -> Array:
    """`count` points on the Catmull-Rom curve through the given ones."""
    return _spline(len(points), count, closed) @ points


@lru_cache(maxsize=64)
def _spline(controls: int, count: int, closed: bool) -> Array:
    """The weights (count, controls) of the given points in those of the curve."""
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


def _taper(points: Array, width: Array | float, start: float = 0.0) -> Array:
    """Outlines (..., 2 N, 2) of strokes along `points` (..., N, 2) that thin to their ends.

    `width` (..., 1) is in pixels and `start` the share of it that a stroke begins with.
    """
    along = np.empty_like(points)
    along[..., 1:-1, :] = points[..., 2:, :] - points[..., :-2, :]
    along[..., 0, :] = points[..., 1, :] - points[..., 0, :]
    along[..., -1, :] = points[..., -1, :] - points[..., -2, :]
    across = along[..., ::-1] * (-1, 1) / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    t = np.linspace(0, 1, points.shape[-2])
    profile = np.maximum(np.sin(np.pi * t) ** 0.7, start * (1 - t)) * width / 2
    across *= profile[..., None]
    return np.concatenate([points + across, (points - across)[..., ::-1, :]], axis=-2)


def _fixed(points: Array) -> Array:
    """Pixels in sixteenths, as OpenCV takes them with `shift=4`."""
    return np.round(points * 16).astype(np.int32)


def _fill(image: Image, points: Array, colour: tuple[float, ...]) -> None:
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, 4)


def _stroke(image: Image, points: Array, width: float, colour: Colour, closed: bool = False) -> None:
    cv2.polylines(image, [_fixed(points)], closed, colour, max(1, round(width)), cv2.LINE_AA, 4)


def _disc(image: Image, centre: Array, radius: float, colour: Colour) -> None:
    cv2.circle(image, _fixed(centre).tolist(), max(1, round(radius * 16)), colour, -1, cv2.LINE_AA, 4)


def _plain(like: Image, colour: Array | Colour) -> Image:
    """A picture of one colour, as large as another."""
    plain = np.empty_like(like)
    cv2.rectangle(plain, (0, 0), like.shape[1::-1], _colour(np.asarray(colour)), -1)
    return plain


def _soften(image: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), max(0.3, sigma))


def _blend(over: Image, under: Image, cover: Image) -> Image:
    """`over` where `cover` is 255, `under` where it is 0."""
    share = cover * np.float32(1 / 255)
    return cv2.blendLinear(over, under, share, 1 - share)


def _paint_inside(image: Image, edge: Array, paint: Callable[[Image, Array], None], feather: float) -> None:
    """Let `paint` draw on a copy of what surrounds a closed curve, and keep what lies inside the curve.

    `paint` gets the copy and where its first pixel lies in `image`, as x, y.
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
    _fill(mask, edge - low, (255,))
    patch[:] = _blend(painted, patch, _soften(mask, feather))
