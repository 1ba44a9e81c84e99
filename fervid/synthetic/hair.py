"""The hair of a person: its colours and the area that it covers."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from fervid.synthetic.brushes import Image, fill
from fervid.synthetic.curves import Array, curve, mirrored, xy
from fervid.synthetic.identity import Identity
from fervid.synthetic.pose import Pose

HAIR_STEP, HAIR_LEFT, HAIR_TOP = 0.0045, -0.95, -1.05
HAIR_SIZE = (422, 467)  # columns and rows of a hair texture: up to x = 0.95 and y = 1.05 face heights
HAIR_LENGTHS = {"long": 0.98, "swept_long": 0.85, "bob": 0.46, "fringe": 0.62, "curls": 0.50}  # lower end
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
TUFTS = {"curly": 2.2, "curls": 2.6, "tousled": 2.0}  # coarseness of the edge; 1 for the other styles
_EVEN_HAIRLINE = (
    (0.350, 0.335, 0.255, 0.10, 0.0, -0.10, -0.255, -0.335, -0.350),
    (0.0, -0.22, -0.37, -0.42, -0.415, -0.42, -0.37, -0.22, 0.0),
)
HAIRLINES = {  # x and y from the temple on the right of the picture to the left one; other styles have the even one
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


def hair_layers(identity: Identity, pose: Pose, size: tuple[int, ...]) -> tuple[Image, Image, Image]:
    """Returns the colours of the hair over the whole region, and its masks behind and in front of the head."""

    def place(texture: Image, depth: float, border: int) -> Image:
        matrix = pose.affine(HAIR_STEP, HAIR_LEFT, HAIR_TOP, depth)
        return cv2.warpAffine(texture, matrix, size[::-1], borderMode=border)

    behind, front = _masks(identity)
    return (
        place(_texture(identity), 0.03, cv2.BORDER_REPLICATE),
        place(behind, -0.12, cv2.BORDER_CONSTANT),
        place(front, 0.10, cv2.BORDER_CONSTANT),
    )


@lru_cache(maxsize=64)
def _texture(identity: Identity) -> Image:
    """Returns the colours of the hair for the whole grid, uint8 (rows, columns, 3)."""
    rng = np.random.default_rng([identity.number, 7])
    columns, rows = np.meshgrid(np.arange(HAIR_SIZE[0]), np.arange(HAIR_SIZE[1]))
    x, y = HAIR_LEFT + columns * HAIR_STEP, HAIR_TOP + rows * HAIR_STEP
    curly = identity.hair_style in ("curly", "curls")
    if curly:
        noise = rng.normal(size=x.shape)
        locks, frizz = cv2.GaussianBlur(noise, (0, 0), 3.0), cv2.GaussianBlur(noise[::-1], (0, 0), 1.2)
        strands = 5.5 * locks + 1.5 * frizz
    else:
        # Strands spread from the parting and hang straight below the temples.
        parting = 0.12 if identity.hair_style.startswith("swept") else 0.0
        along = (x - parting) / (0.22 + np.clip(y + 0.75, 0, 0.75)) + 0.03 * np.sin(9 * y + 3 * x)
        fine, broad = rng.normal(size=600), np.convolve(rng.normal(size=600), np.ones(9) / 3, "same")
        strands = np.interp((along + 2.5) * 110, np.arange(600), 0.55 * fine + 0.8 * broad)
        strands = strands + 3 * cv2.GaussianBlur(rng.normal(size=x.shape), (0, 0), 6)
    gloss = np.exp(-(((np.hypot(x, 0.9 * (y + 0.1)) - 0.50) / 0.07) ** 2)) * (0.25 if curly else 0.5)
    depth = np.clip(0.30 * (y + 0.35), 0, 0.4)  # hair near the neck is in the shadow of the head
    tone = np.clip(1.0 + 0.16 * strands + gloss * (1 + 0.3 * strands) - depth, 0.35, 2.2)
    colours = np.array(identity.hair) * tone[..., None] + 14 * gloss[..., None]
    return np.clip(colours, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _masks(identity: Identity) -> tuple[Image, Image]:
    """Returns the masks of the hair behind and in front of the head, uint8 (rows, columns) each."""
    style, cheek = identity.hair_style, identity.face[0]
    behind, front = np.zeros(HAIR_SIZE[::-1], np.uint8), np.zeros(HAIR_SIZE[::-1], np.uint8)

    def cover(mask: Image, points: Array) -> None:
        fill(mask, (points - (HAIR_LEFT, HAIR_TOP)) / HAIR_STEP, (255,))

    volume = HAIR_VOLUMES.get(style, 0.06)
    sides = np.array([0.372, 0.385]) * cheek + 0.4 * volume
    half = xy([*-sides, -0.335 - volume, -0.2, 0.0], [0.02, -0.2, -0.45, -0.6 - volume, -0.635 - volume])
    crown = curve(np.concatenate([half, (half * (-1, 1))[-2::-1]]), 48)
    line = curve(xy(*HAIRLINES.get(style, _EVEN_HAIRLINE)) * (cheek, 1), 48)
    cover(front, np.concatenate([crown, line]))
    if style in HAIR_LENGTHS:
        end, wide = HAIR_LENGTHS[style], 0.13 if style == "curls" else 0.05
        x = [0.0, 0.3, 0.42 + wide / 2, 0.43 + wide, 0.42 + wide, 0.36 + wide / 2, 0.2]
        y = [-0.66, -0.55, -0.2, 0.15, end * 0.7, end, end + 0.03]
        cover(behind, mirrored(curve(xy(x, y), 32)))
        x = [0.345, 0.40, 0.43 + wide * 0.8, 0.41 + wide, 0.345, 0.30, 0.335, 0.352]
        lock = curve(xy(x, [-0.12, -0.1, 0.2, end * 0.72, end, end * 0.8, 0.3, 0.1]), 40, closed=True)
        for side in (-1, 1):
            cover(front, lock * (side, 1))
    elif style == "bun":
        turn = np.linspace(0, 2 * np.pi, 32)
        cover(behind, 0.155 * xy(np.cos(turn), np.sin(turn)) - (0.0, 0.74))
    else:
        cover(behind, crown)
    return _ragged(behind, identity), _ragged(front, identity)


def _ragged(mask: Image, identity: Identity) -> Image:
    """Breaks the edge of a mask into tufts, since hair with a smooth outline looks like a helmet."""
    tuft = TUFTS.get(identity.hair_style, 1.0)
    thin = identity.hair_style == "buzz"
    grain = np.random.default_rng([identity.number, 8]).normal(size=mask.shape)
    long = 2.2 if tuft == 1.0 else 1.1
    noise = cv2.GaussianBlur(grain, (0, 0), 1.1 * tuft, sigmaY=long * tuft) * 2.6 * tuft
    soft = cv2.GaussianBlur(mask, (0, 0), 9.0 if thin else 3.0 * tuft) / 255
    edge = 4 * soft * (1 - soft)
    cover = np.clip((soft + 0.16 * noise * edge - 0.5) * 3.5 + 0.5, 0, 1)
    return (cover * (215 if thin else 255)).astype(np.uint8)
