"""Labels of rendered frames besides the emotion: valence, arousal and action units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fervid.schema.columns import ACTION_UNIT
from fervid.synthetic.curves import Array
from fervid.synthetic.expressions import INTENSITIES
from fervid.synthetic.identity import Identity
from fervid.synthetic.performance import UNITS, Performance

ANGLES: dict[str, float] = {
    "happy": 10.0,
    "surprise": 70.0,
    "angry": 100.0,
    "fear": 115.0,
    "disgust": 150.0,
    "sad": 205.0,
    "calm": 315.0,
}
"""Direction of each emotion in the plane of valence (0 degrees) and arousal (90 degrees).

They follow the circular order of Russell 1980: pleasure at 0 degrees, excitement at 45, arousal at 90, distress at 135,
displeasure at 180, depression at 225, sleepiness at 270, relaxation at 315. Disgust is not one of his words and lies
between distress and displeasure. Neutral is the origin.
"""
DISTANCE = 0.8  # from the origin at the apex of an expression of normal intensity; 0.96 of strong intensity
PRESENT = 0.3
"""Smallest activity above that of the resting face at which an action unit counts as present.

Action units are coded as changes from the neutral face (Ekman & Friesen 1978). Stray movements stay below 0.3 and the
units of an expression exceed it at the apex. Speech (25, 26, 18) and blinks (43) count, since they are visible, too.
"""


def frame_labels(
    identity: Identity,
    emotion: str,
    intensity: str,
    take: int,
    frames: int,
    fps: float,
    seed: int,
    times: Sequence[int] | Array,
) -> list[dict[str, float | int]]:
    """Returns ``valence``, ``arousal`` and ``au_<number>`` (1 if present, else 0) of frames of a clip; renders nothing.

    Args:
        identity: the person; see :func:`fervid.synthetic.rendering.render_clip` for the other arguments.
        emotion: one of the rendered emotions.
        intensity: ``normal`` or ``strong``.
        take: number of the clip with otherwise equal arguments.
        frames: length of the whole clip.
        fps: frames per second.
        seed: random seed.
        times: numbers of the frames.
    """
    act = Performance(identity, emotion, intensity, take, frames, fps, seed)
    angle = np.radians(ANGLES.get(emotion, 0.0))
    distance = DISTANCE * INTENSITIES[intensity] * act.swell if emotion in ANGLES else np.zeros(frames)
    valence, arousal = distance * np.cos(angle), distance * np.sin(angle)
    present = act.activity - np.array(identity.resting) >= PRESENT
    return [
        {"valence": round(float(valence[time]), 3), "arousal": round(float(arousal[time]), 3)}
        | {f"{ACTION_UNIT}{unit}": int(shown) for unit, shown in zip(UNITS, present[time], strict=True)}
        for time in times
    ]
