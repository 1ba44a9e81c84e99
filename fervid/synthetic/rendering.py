"""Renders talking faces, so that everything runs without data.

An identity (a generated person) acts an emotion in a clip: facial action units rise from near rest to an apex and fall
back, the mouth talks, the head moves, the eyes blink. As in recorded corpora, the person confounds the emotion: a
resting face may look slightly sad or angry, people express an emotion in different ways, and each emotion is recorded
in a session with its own lighting, background and clothes. A network therefore scores higher on people from its
training data than on new people, as with recorded corpora.

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

from fervid.errors import InputError
from fervid.synthetic.brushes import Image
from fervid.synthetic.expressions import EMOTIONS
from fervid.synthetic.identity import Identity, make_identity
from fervid.synthetic.painting import draw_person
from fervid.synthetic.performance import UNITS, Performance
from fervid.synthetic.pose import Pose

__all__ = [
    "EMOTIONS",
    "Identity",
    "RenderedClip",
    "make_identity",
    "render_clip",
    "render_crops",
]


@dataclass(frozen=True)
class RenderedClip:
    """Frames of one clip.

    Attributes:
        images: uint8 (T, H, W, 3), RGB.
        eyes: float32 (T, 2, 2), x and y of both eyes in pixels, the one on the left of the picture first.
        boxes: float32 (T, 4), x, y, width and height of the face from hairline to chin in pixels.
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
    """Renders a clip as recorded by a fixed camera: the head moves in the picture.

    Args:
        identity: the person.
        emotion: one of `EMOTIONS`.
        take: number of the clip with otherwise equal arguments; takes differ in lighting, background and timing.
        intensity: `"normal"` or `"strong"`.
        frames: length of the whole clip.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        face_height: mean distance from hairline to chin in pixels.
        fps: frames per second; sets the speed of all movements.
        seed: random seed; another seed gives other clips of the same people.
        times: numbers of the frames to draw, from 0; None: all frames. A frame does not depend on the others drawn.

    Returns:
        The frames in the order of `times`.

    Raises:
        InputError: if `emotion`, `intensity` or a frame number is unknown, or `frames` is below 1.
    """
    act = Performance(identity, emotion, intensity, take, frames, fps, seed)
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
    """Renders a clip as after detection and alignment: square crops filled by the face.

    The crops include what alignment leaves: small errors of position, scale and roll, and the rotation of the head.

    Args:
        identity: the person; see `render_clip` for all arguments.
        emotion: one of `EMOTIONS`.
        take: number of the clip with otherwise equal arguments.
        intensity: `"normal"` or `"strong"`.
        frames: length of the whole clip.
        size: width and height of the crops in pixels.
        fps: frames per second.
        seed: random seed; another seed gives other clips of the same people.
        times: numbers of the frames to draw, from 0; None: all frames.

    Returns:
        The frames in the order of `times`.

    Raises:
        InputError: if `emotion`, `intensity` or a frame number is unknown, or `frames` is below 1.
    """
    act = Performance(identity, emotion, intensity, take, frames, fps, seed)
    face_height = 0.90 * size
    poses = [
        Pose((0.5 + x) * size, (0.41 + y) * size, face_height * (1 + grow), roll, yaw, pitch)
        for (x, y, grow, roll), (_, _, _, _, yaw, pitch) in zip(act.misalignment, act.head, strict=True)
    ]
    return _film(act, poses, face_height, size, size, times)


def _film(
    act: Performance,
    poses: list[Pose],
    face_height: float,
    width: int,
    height: int,
    times: Sequence[int] | None,
) -> RenderedClip:
    numbers = range(act.frames) if times is None else times
    for number in numbers:
        if not 0 <= number < act.frames:
            raise InputError(f"frame {number} is out of range: use 0 to {act.frames - 1}.")
    # Lines thinner than a pixel cannot be drawn, so small faces are drawn at a larger size and reduced.
    zoom = float(np.clip(180 / face_height, 1, 8))
    background = _background(act, round(width * zoom), round(height * zoom))
    # The noise of a frame is a window of one larger noise image; new noise for each frame would be slow.
    rng = np.random.default_rng([*act.key, 1])
    grain = np.float32(act.noise) * rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32)
    windows = rng.integers(0, 32, (act.frames, 2))
    images = np.empty((len(numbers), height, width, 3), np.uint8)
    eyes, boxes = np.empty((len(numbers), 2, 2), np.float32), np.empty((len(numbers), 4), np.float32)
    for row, number in enumerate(numbers):
        pose, picture = poses[number], background.copy()
        drawn = Pose(pose.x * zoom, pose.y * zoom, pose.scale * zoom, pose.roll, pose.yaw, pose.pitch)
        activity = dict(zip(UNITS, act.activity[number].tolist(), strict=True))
        gaze_x, gaze_y = act.gaze[number].tolist()
        at, outline = draw_person(picture, act.identity, activity, drawn, act.light, act.shirt, (gaze_x, gaze_y))
        if zoom > 1:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        picture = cv2.GaussianBlur(picture, (3, 3), act.blur)
        top, left = windows[number]
        images[row] = cv2.add(picture, grain[top : top + height, left : left + width], dtype=cv2.CV_8U)
        eyes[row] = at / zoom
        low, high = outline.min(axis=0) / zoom, outline.max(axis=0) / zoom
        hairline = low[1] + 0.15 * (high[1] - low[1])  # the outline includes the crown
        boxes[row] = low[0], hairline, high[0] - low[0], high[1] - hairline
    return RenderedClip(images, eyes, boxes)


def _background(act: Performance, width: int, height: int) -> Image:
    """Renders a wall with a light gradient and blurred objects in front of it, uint8 (height, width, 3)."""
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
    # The picture shows the largest central part of the wall with its aspect ratio.
    part = min(72 / height, 128 / width) / 2
    tall, wide = max(1, round(height * part)), max(1, round(width * part))
    shown = blurred[36 - tall : 36 + tall, 64 - wide : 64 + wide]
    large = cv2.resize(shown.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(large, 0, 255).astype(np.uint8)
