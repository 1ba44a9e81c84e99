"""Movements, expressions and scene of a clip: everything that does not depend on the camera."""

from __future__ import annotations

import numpy as np

from fervid.errors import InputError
from fervid.synthetic.brushes import Colour
from fervid.synthetic.curves import Array
from fervid.synthetic.expressions import ACTION_UNITS, EMOTIONS, EXPRESSIONS, INTENSITIES
from fervid.synthetic.identity import Identity
from fervid.synthetic.lighting import Light

UNITS = list(ACTION_UNITS)  # in the order of the columns of an activity


class Performance:
    """Movements, expressions and scene of a clip: everything that does not depend on the camera."""

    def __init__(
        self, identity: Identity, emotion: str, intensity: str, take: int, frames: int, fps: float, seed: int
    ) -> None:
        """Draws all random numbers of the clip for all its frames, so that a frame does not depend on the others."""
        if emotion not in EXPRESSIONS:
            raise InputError(f"emotion {emotion!r} is unknown: choose {', '.join(EMOTIONS)}.")
        if intensity not in INTENSITIES:
            raise InputError(f"intensity {intensity!r} is unknown: choose {', '.join(INTENSITIES)}.")
        if frames < 1:
            raise InputError(f"frames={frames} is out of range: use 1 or more.")
        self.identity, self.frames = identity, frames
        session = [seed, identity.number, EMOTIONS.index(emotion)]
        self.key = [*session, list(INTENSITIES).index(intensity), take]
        rng = np.random.default_rng(self.key)
        self._look(rng, np.random.default_rng([*session, 1]))
        self._move(rng, np.arange(frames) / fps)
        felt = np.array([EXPRESSIONS[emotion].get(unit, 0.0) for unit in UNITS]) * INTENSITIES[intensity]
        self._act(rng, np.random.default_rng([*session, 2]), np.arange(frames) / fps, felt)

    def _look(self, rng: np.random.Generator, session: np.random.Generator) -> None:
        # Clips of one session share background and clothes and have similar lighting.
        self.wall = session.uniform(60, 225) * (1 + session.uniform(-0.14, 0.14, 3)) * rng.uniform(0.85, 1.15)
        self.scenery = int(session.integers(2**31))
        red, green, blue = (session.uniform(40, 215) * (1 + session.uniform(-0.35, 0.35, 3))).tolist()
        self.shirt: Colour = (red, green, blue)
        side = session.uniform(-0.65, 0.65) + rng.normal(0, 0.2)
        warmth = session.uniform(-0.01, 0.08)
        gain = session.uniform(0.92, 1.08) + rng.normal(0, 0.04)
        tint = (gain * (1 + warmth), gain, gain * (1 - warmth))
        self.light = Light(side, session.uniform(-0.75, -0.3), session.uniform(0.48, 0.62), tint)
        self.noise = rng.uniform(1.0, 4.0)  # standard deviation in intensity levels
        self.blur = rng.uniform(0.25, 0.75)  # standard deviation in pixels
        self.placement = rng.uniform(-1, 1, 2)

    def _move(self, rng: np.random.Generator, seconds: Array) -> None:
        """Draws the head's x, y, scale, roll, yaw and pitch, which vary slowly around the mean pose of the clip."""
        spread = np.array([0.020, 0.012, 0.012, np.radians(1.4), np.radians(3.0), np.radians(2.0)])
        middle = rng.normal(0, 1, 6) * spread * (0, 0, 1, 1, 1, 1) + (0, 0, 1, 0, 0, 0)
        self.head = middle + 0.7 * spread * _wander(rng, seconds, 6, 0.15, 0.7)
        # The alignment error of x, y, scale and roll is nearly constant within a clip.
        error = np.array([0.009, 0.009, 0.015, np.radians(1.2)])
        self.misalignment = error * (rng.normal(0, 1, 4) + rng.normal(0, 0.35, (len(seconds), 4)))
        gaze = 0.07 * _wander(rng, seconds, 2, 0.2, 0.6) + rng.normal(0, 0.05, 2)
        self.gaze = np.clip(gaze, -0.25, 0.25) * (1, 0.5)

    def _act(self, rng: np.random.Generator, habit: np.random.Generator, seconds: Array, felt: Array) -> None:
        """Draws the activity of each action unit in each frame."""
        # Expressions differ between people, but each person repeats them in much the same way.
        count = len(UNITS)
        felt = felt * self.identity.expressiveness * habit.uniform(0.85, 1.2, count) * rng.uniform(0.9, 1.1, count)
        stray = np.maximum(0, habit.normal(0, 0.06, count) + rng.normal(0, 0.03, count))
        # Onset, apex, offset: recorded clips begin and end near neutral.
        t = seconds / max(seconds[-1], 1e-6)
        onset, offset = rng.uniform(0.05, 0.19), rng.uniform(0.85, 0.97)
        swell = _step((t - onset) / 0.18) * _step((offset - t) / 0.18)
        swell = 0.05 + 0.95 * swell * (1 + 0.06 * _wander(rng, seconds, 1, 0.5, 1.5)[:, 0])
        self.swell = np.clip(swell, 0, 1)
        activity = np.array(self.identity.resting) + stray + swell[:, None] * felt

        drift = 1.2 * np.sin(2 * np.pi * 0.7 * seconds + rng.uniform(0, 6))  # speech is not perfectly regular
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(3.6, 5.0) * seconds + rng.uniform()) + drift)
        phrases = _step(1.1 + 1.2 * _wander(rng, seconds, 1, 0.3, 0.8)[:, 0])
        rounding = np.maximum(0, _wander(rng, seconds, 1, 1.0, 2.6)[:, 0])
        speech = syllables * phrases
        talk = {10: 0.1 * speech, 18: 0.25 * rounding * phrases, 25: 0.4 * speech, 26: 0.18 * speech}
        for unit, amount in talk.items():
            activity[:, UNITS.index(unit)] += amount
        activity[:, UNITS.index(24)] *= 1 - 0.8 * speech  # lips cannot be pressed together while talking

        blinks = np.arange(rng.uniform(0.3, 2.0), seconds[-1] + 1, rng.uniform(2.0, 4.0))
        blink = np.exp(-(((seconds[:, None] - blinks) / 0.07) ** 2)).max(axis=1, initial=0)
        droop = np.minimum(0.28, activity[:, UNITS.index(43)])  # without a blink, the eyes close no further than this
        activity[:, UNITS.index(43)] = np.maximum(droop, blink)
        self.activity = np.clip(activity, 0, 1.3)


def _wander(rng: np.random.Generator, seconds: Array, count: int, slowest: float, fastest: float) -> Array:
    """Returns smooth random motion (T, count) of about unit amplitude, with frequencies in Hz."""
    rates, phases = rng.uniform(slowest, fastest, (3, count)), rng.uniform(0, 2 * np.pi, (3, count))
    return np.sin(2 * np.pi * rates * seconds[:, None, None] + phases).sum(axis=1) / np.sqrt(1.5)


def _step(t: Array) -> Array:
    """Returns the smooth step function: 0 for t <= 0, 1 for t >= 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
