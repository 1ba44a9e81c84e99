"""Talking faces made up on the spot, so that everything here runs on a bare machine with no data.

An identity (a made-up person) acts an emotion in a clip: facial action units rise from near rest to an
apex and fall back, the mouth talks, the head moves, eyes blink. As in recorded corpora the person confounds
the emotion: a resting face looks a little sad or angry, everyone expresses an emotion in a way of their own,
and each emotion was recorded in a session with its own light, background and clothes. That is why a network
scores higher on frames of people it has seen than on strangers, here as there.

>>> clip = render_crops(make_identity(1, seed=0), "happy", take=1, frames=30, seed=0, times=[10, 15, 20])
>>> clip.images.shape
(3, 128, 128, 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fervid.schema.errors import InputError
from fervid.synthetic.faces import (
    ACTION_UNITS,
    Array,
    Colour,
    Identity,
    Image,
    Light,
    Pose,
    draw_person,
    make_identity,
)

__all__ = [
    "EMOTIONS",
    "IDENTITIES",
    "INTENSITIES",
    "Identity",
    "RenderedClip",
    "make_identity",
    "render_clip",
    "render_crops",
]

IDENTITIES = 24
"""How many people the rendered corpus has unless told otherwise: as many as RAVDESS."""

EXPRESSIONS: dict[str, dict[int, float]] = {
    "neutral": {},
    "calm": {6: 0.2, 12: 0.45, 43: 0.25},
    "happy": {6: 0.85, 12: 1.0, 25: 0.7, 26: 0.15},
    "sad": {1: 0.95, 4: 0.5, 15: 0.95, 17: 0.5, 43: 0.25},
    "angry": {4: 1.0, 5: 0.55, 7: 0.7, 24: 0.8, 17: 0.3},
    "fear": {1: 0.9, 2: 0.5, 4: 0.55, 5: 0.9, 20: 0.9, 25: 0.6, 26: 0.2},
    "disgust": {4: 0.5, 7: 0.5, 9: 1.0, 10: 0.85, 15: 0.3, 17: 0.35},
    "surprise": {1: 0.95, 2: 1.0, 5: 0.75, 25: 0.6, 26: 0.95},
}
"""The action units of each emotion and their activity at its apex, after EMFACS (Friesen & Ekman 1983)."""

EMOTIONS: tuple[str, ...] = tuple(EXPRESSIONS)
INTENSITIES = {"normal": 1.0, "strong": 1.2}
_UNITS = list(ACTION_UNITS)


@dataclass(frozen=True)
class RenderedClip:
    """Frames of one clip.

    Attributes:
        images: uint8 (T, H, W, 3), RGB.
        eyes: float32 (T, 2, 2), x and y in pixels of both eyes, the one on the left of the picture first.
        boxes: float32 (T, 4), x, y, width and height in pixels of the face from hairline to chin.
    """

    images: Image
    eyes: NDArray[np.float32]
    boxes: NDArray[np.float32]


def render_clip(
    identity: Identity,
    emotion: str,
    *,
    take: int,
    intensity: str = "normal",
    frames: int,
    width: int,
    height: int,
    face_height: float,
    fps: float = 30.0,
    seed: int,
    times: Sequence[int] | None = None,
) -> RenderedClip:
    """Render a clip as a camera on a stand sees it: the head moves through the picture.

    Args:
        identity: who acts.
        emotion: one of `EMOTIONS`.
        take: which of the clips that are otherwise alike; each has its own light, background and timing.
        intensity: `"normal"` or `"strong"`.
        frames: length of the whole clip.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        face_height: mean distance from hairline to chin, in pixels.
        fps: frames a second; sets how fast everything moves.
        seed: another seed gives other clips of the same people.
        times: numbers of the frames to draw, from 0; all of them when not given. A frame is the same picture
            whichever others are drawn.

    Returns:
        The frames asked for, in the order of `times`.

    Raises:
        InputError: if `emotion`, `intensity` or a frame number is unknown, or `frames` is below 1.
    """
    act = _Performance(identity, emotion, intensity, take, frames, fps, seed)
    room = np.maximum(0, np.array([width, height]) - 1.35 * face_height) / 2
    middle = np.array([0.5 * width, 0.5 * height - 0.06 * face_height])
    x0, y0 = middle + act.placement * np.minimum(room, np.array([0.5, 0.2]) * face_height)
    poses = [
        Pose(x0 + x * face_height, y0 + y * face_height, face_height * scale, roll, yaw, pitch)
        for x, y, scale, roll, yaw, pitch in act.head
    ]
    return _film(act, poses, face_height, width, height, times)


def render_crops(
    identity: Identity,
    emotion: str,
    *,
    take: int,
    intensity: str = "normal",
    frames: int,
    size: int = 128,
    fps: float = 30.0,
    seed: int,
    times: Sequence[int] | None = None,
) -> RenderedClip:
    """Render a clip as a detector and an aligner would hand it on: square crops that the face fills.

    What they would leave is left: a small error of place, scale and roll, and the turns of the head.

    Args:
        identity: see `render_clip`, like everything else here.
        emotion: one of `EMOTIONS`.
        take: which of the clips that are otherwise alike.
        intensity: `"normal"` or `"strong"`.
        frames: length of the whole clip.
        size: width and height of the crops, in pixels.
        fps: frames a second.
        seed: another seed gives other clips of the same people.
        times: numbers of the frames to draw, from 0; all of them when not given.

    Returns:
        The frames asked for, in the order of `times`.

    Raises:
        InputError: if `emotion`, `intensity` or a frame number is unknown, or `frames` is below 1.
    """
    act = _Performance(identity, emotion, intensity, take, frames, fps, seed)
    face_height = 0.90 * size
    poses = [
        Pose((0.5 + x) * size, (0.41 + y) * size, face_height * (1 + grow), roll, yaw, pitch)
        for (x, y, grow, roll), (_, _, _, _, yaw, pitch) in zip(act.misalignment, act.head, strict=True)
    ]
    return _film(act, poses, face_height, size, size, times)


class _Performance:
    """All of a clip that does not depend on the camera: what the person does and how the place looks."""

    def __init__(
        self, identity: Identity, emotion: str, intensity: str, take: int, frames: int, fps: float, seed: int
    ) -> None:
        """Everything random about the clip is drawn here, for all frames, whichever will be asked for."""
        if emotion not in EXPRESSIONS:
            raise InputError(f"there is no emotion {emotion!r}: take one of {', '.join(EMOTIONS)}.")
        if intensity not in INTENSITIES:
            raise InputError(f"there is no intensity {intensity!r}: take one of {', '.join(INTENSITIES)}.")
        if frames < 1:
            raise InputError(f"a clip of {frames} frames shows nothing: give frames=1 or more.")
        self.identity, self.frames = identity, frames
        session = [seed, identity.number, EMOTIONS.index(emotion)]
        self.key = [*session, list(INTENSITIES).index(intensity), take]
        rng = np.random.default_rng(self.key)
        self._look(rng, np.random.default_rng([*session, 1]))
        self._move(rng, np.arange(frames) / fps)
        felt = np.array([EXPRESSIONS[emotion].get(unit, 0.0) for unit in _UNITS]) * INTENSITIES[intensity]
        self._act(rng, np.random.default_rng([*session, 2]), np.arange(frames) / fps, felt)

    def _look(self, rng: np.random.Generator, session: np.random.Generator) -> None:
        # Clips of one session share place, clothes and, but for a little, the light.
        self.wall = session.uniform(60, 225) * (1 + session.uniform(-0.14, 0.14, 3)) * rng.uniform(0.85, 1.15)
        self.scenery = int(session.integers(2**31))
        red, green, blue = (session.uniform(40, 215) * (1 + session.uniform(-0.35, 0.35, 3))).tolist()
        self.shirt: Colour = (red, green, blue)
        side = session.uniform(-0.65, 0.65) + rng.normal(0, 0.2)
        warmth = session.uniform(-0.01, 0.08)
        gain = session.uniform(0.92, 1.08) + rng.normal(0, 0.04)
        tint = (gain * (1 + warmth), gain, gain * (1 - warmth))
        self.light = Light(side, session.uniform(-0.75, -0.3), session.uniform(0.48, 0.62), tint)
        self.noise = rng.uniform(1.0, 4.0)  # standard deviation in grey levels
        self.blur = rng.uniform(0.25, 0.75)  # standard deviation in pixels
        self.placement = rng.uniform(-1, 1, 2)

    def _move(self, rng: np.random.Generator, seconds: Array) -> None:
        """The head's x, y, scale, roll, yaw and pitch: it wanders slowly about the pose of the clip."""
        spread = np.array([0.020, 0.012, 0.012, np.radians(1.4), np.radians(3.0), np.radians(2.0)])
        middle = rng.normal(0, 1, 6) * spread * (0, 0, 1, 1, 1, 1) + (0, 0, 1, 0, 0, 0)
        self.head = middle + 0.7 * spread * _wander(rng, seconds, 6, 0.15, 0.7)
        # What an aligner leaves of x, y, scale and roll is mostly the same all through a clip.
        error = np.array([0.009, 0.009, 0.015, np.radians(1.2)])
        self.misalignment = error * (rng.normal(0, 1, 4) + rng.normal(0, 0.35, (len(seconds), 4)))
        gaze = 0.07 * _wander(rng, seconds, 2, 0.2, 0.6) + rng.normal(0, 0.05, 2)
        self.gaze = np.clip(gaze, -0.25, 0.25) * (1, 0.5)

    def _act(self, rng: np.random.Generator, habit: np.random.Generator, seconds: Array, felt: Array) -> None:
        """Activity of each action unit in each frame."""
        # Nobody smiles or frowns by the book, but everyone much the same way each time.
        count = len(_UNITS)
        felt = felt * self.identity.expressiveness * habit.uniform(0.85, 1.2, count) * rng.uniform(0.9, 1.1, count)
        stray = np.maximum(0, habit.normal(0, 0.06, count) + rng.normal(0, 0.03, count))
        # Onset, apex, offset: recorded clips begin and end near neutral.
        t = seconds / max(seconds[-1], 1e-6)
        onset, offset = rng.uniform(0.05, 0.19), rng.uniform(0.85, 0.97)
        swell = _step((t - onset) / 0.18) * _step((offset - t) / 0.18)
        swell = 0.05 + 0.95 * swell * (1 + 0.06 * _wander(rng, seconds, 1, 0.5, 1.5)[:, 0])
        activity = np.array(self.identity.resting) + stray + swell[:, None] * felt

        drift = 1.2 * np.sin(2 * np.pi * 0.7 * seconds + rng.uniform(0, 6))  # nobody speaks by a metronome
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(3.6, 5.0) * seconds + rng.uniform()) + drift)
        phrases = _step(1.1 + 1.2 * _wander(rng, seconds, 1, 0.3, 0.8)[:, 0])
        rounding = np.maximum(0, _wander(rng, seconds, 1, 1.0, 2.6)[:, 0])
        speech = syllables * phrases
        talk = {10: 0.1 * speech, 18: 0.25 * rounding * phrases, 25: 0.4 * speech, 26: 0.18 * speech}
        for unit, amount in talk.items():
            activity[:, _UNITS.index(unit)] += amount
        activity[:, _UNITS.index(24)] *= 1 - 0.8 * speech  # lips cannot be pressed and talk

        blinks = np.arange(rng.uniform(0.3, 2.0), seconds[-1] + 1, rng.uniform(2.0, 4.0))
        blink = np.exp(-(((seconds[:, None] - blinks) / 0.07) ** 2)).max(axis=1, initial=0)
        droop = np.minimum(0.28, activity[:, _UNITS.index(43)])  # eyes that stay open close no further
        activity[:, _UNITS.index(43)] = np.maximum(droop, blink)
        self.activity = np.clip(activity, 0, 1.3)


def _film(
    act: _Performance,
    poses: list[Pose],
    face_height: float,
    width: int,
    height: int,
    times: Sequence[int] | None,
) -> RenderedClip:
    numbers = range(act.frames) if times is None else times
    for number in numbers:
        if not 0 <= number < act.frames:
            raise InputError(f"there is no frame {number} in a clip of {act.frames} frames: count them from 0.")
    # Lines thinner than a pixel cannot be drawn, so small faces are drawn larger and shrunk.
    zoom = float(np.clip(180 / face_height, 1, 8))
    background = _background(act, round(width * zoom), round(height * zoom))
    # The noise of a frame is a window of one larger sheet: new noise each time would be slow.
    rng = np.random.default_rng([*act.key, 1])
    grain = np.float32(act.noise) * rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32)
    windows = rng.integers(0, 32, (act.frames, 2))
    images = np.empty((len(numbers), height, width, 3), np.uint8)
    eyes, boxes = np.empty((len(numbers), 2, 2), np.float32), np.empty((len(numbers), 4), np.float32)
    for row, number in enumerate(numbers):
        pose, picture = poses[number], background.copy()
        drawn = Pose(pose.x * zoom, pose.y * zoom, pose.scale * zoom, pose.roll, pose.yaw, pose.pitch)
        activity = dict(zip(_UNITS, act.activity[number].tolist(), strict=True))
        gaze_x, gaze_y = act.gaze[number].tolist()
        at, outline = draw_person(picture, act.identity, activity, drawn, act.light, act.shirt, (gaze_x, gaze_y))
        if zoom > 1:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        picture = cv2.GaussianBlur(picture, (3, 3), act.blur)
        top, left = windows[number]
        images[row] = cv2.add(picture, grain[top : top + height, left : left + width], dtype=cv2.CV_8U)
        eyes[row] = at / zoom
        low, high = outline.min(axis=0) / zoom, outline.max(axis=0) / zoom
        hairline = low[1] + 0.15 * (high[1] - low[1])  # the outline goes up to the crown
        boxes[row] = low[0], hairline, high[0] - low[0], high[1] - hairline
    return RenderedClip(images, eyes, boxes)


def _background(act: _Performance, width: int, height: int) -> Image:
    """A wall with a fall of light and blurred things before it, uint8 (height, width, 3)."""
    rng = np.random.default_rng(act.scenery)
    wall = np.empty((72, 128, 3), np.float32)
    wall[:] = act.wall
    for _ in range(int(rng.integers(0, 6))):
        corner = rng.integers(-10, (128, 72))
        opposite = corner + rng.integers(8, (50, 60))
        colour = act.wall * rng.uniform(0.5, 1.35) + rng.normal(0, 12, 3)
        cv2.rectangle(wall, corner.tolist(), opposite.tolist(), colour.tolist(), -1)
    blurred = cv2.GaussianBlur(wall, (0, 0), rng.uniform(2, 5))
    across, down = np.linspace(-1, 1, 128)[:, None], np.linspace(-1, 1, 72)[:, None, None]
    blurred = blurred * (1 + 0.18 * np.sign(act.light.x) * across - 0.15 * down**2) * np.array(act.light.tint)
    # The picture shows as much of the middle of the wall as has its shape.
    part = min(72 / height, 128 / width) / 2
    tall, wide = max(1, round(height * part)), max(1, round(width * part))
    shown = blurred[36 - tall : 36 + tall, 64 - wide : 64 + wide]
    large = cv2.resize(shown.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(large, 0, 255).astype(np.uint8)


def _wander(rng: np.random.Generator, seconds: Array, count: int, slowest: float, fastest: float) -> Array:
    """Smooth random motion (T, count) of about unit size, with frequencies in Hz."""
    rates, phases = rng.uniform(slowest, fastest, (3, count)), rng.uniform(0, 2 * np.pi, (3, count))
    return np.sin(2 * np.pi * rates * seconds[:, None, None] + phases).sum(axis=1) / np.sqrt(1.5)


def _step(t: Array) -> Array:
    """0 up to 0, 1 from 1, and smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
