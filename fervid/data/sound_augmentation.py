"""Augmentation of sounds: level, noise, shift and speed.

SpecAugment, which masks parts of a spectrogram, is a setting of the sound encoders; mixup is one of the task. Libraries
for the same purpose import numba, which takes longer than an epoch on cached features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fervid.errors import InputError
from fervid.media.sound import RATE

MIN_SAMPLES = RATE // 20  # what a shift or a higher speed leaves of a sound


class SoundAugmentation:
    """Changes a sound at random.

    Args:
        gain_db: maximum change of the level in dB; 0: off.
        noise_snr_db: range of the signal-to-noise ratio of added white noise in dB; None: off.
        shift_seconds: maximum duration of the silence that is added at the start, or of the sound that is removed
            there; 0: off.
        speed: maximum relative change of the speed (Ko et al., Interspeech 2015), which also changes the pitch; 0: off.
        p: probability of each change.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        *,
        gain_db: float = 6.0,
        noise_snr_db: Sequence[float] | None = (10.0, 40.0),
        shift_seconds: float = 0.1,
        speed: float = 0.1,
        p: float = 0.5,
    ):
        for name, value, maximum in (
            ("gain_db", gain_db, 60),
            ("shift_seconds", shift_seconds, 60),
            ("speed", speed, 0.5),
            ("p", p, 1),
        ):
            if not 0 <= value <= maximum:
                raise InputError(f"sound_augmentation.{name}={value} is out of range: give 0 to {maximum}.")
        if noise_snr_db is not None and (len(noise_snr_db) != 2 or not noise_snr_db[0] <= noise_snr_db[1]):
            raise InputError(
                f"sound_augmentation.noise_snr_db={list(noise_snr_db)} is not a range: give two numbers in dB, the "
                "smaller one first, or null."
            )
        self.gain_db, self.shift_seconds, self.speed, self.p = gain_db, shift_seconds, speed, p
        self.noise_snr_db = None if noise_snr_db is None else (float(noise_snr_db[0]), float(noise_snr_db[1]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings, which are part of the key of cached features."""
        return dict(vars(self))

    def __call__(self, values: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        """Returns a changed copy of a sound.

        Args:
            values: float32 (N,), from -1 to 1, at 16 kHz.
            draws: random numbers.

        Returns:
            float32 (M,), at most as long as the original, of which the end is cut off if need be; values may exceed 1.
        """
        sound, shortest = values, min(len(values), MIN_SAMPLES)
        if self.speed and draws.random() < self.p:
            changed = _resampled(sound, 1 + draws.uniform(-self.speed, self.speed))
            sound = changed if len(changed) >= shortest else sound
        if self.shift_seconds and draws.random() < self.p:
            shift = round(RATE * draws.uniform(-self.shift_seconds, self.shift_seconds))
            removed = min(-shift, max(0, len(sound) - MIN_SAMPLES))
            sound = np.pad(sound, (shift, 0)) if shift > 0 else sound[max(0, removed) :]
        # Encoders have a maximum length, and cached features have room for the longest original.
        sound = sound[: len(values)]
        if self.gain_db and draws.random() < self.p:
            sound = sound * np.float32(10 ** (draws.uniform(-self.gain_db, self.gain_db) / 20))
        if self.noise_snr_db is not None and draws.random() < self.p:
            ratio = 10 ** (-draws.uniform(*self.noise_snr_db) / 20)
            noise = draws.standard_normal(len(sound), dtype=np.float32)
            sound = sound + np.float32(ratio * np.sqrt(np.mean(sound**2, dtype=np.float64))) * noise
        return np.ascontiguousarray(sound, dtype=np.float32)


def _resampled(sound: np.ndarray, speed: float) -> np.ndarray:
    """Plays a sound faster or slower by linear interpolation."""
    count = max(1, round(len(sound) / speed))
    return np.interp(np.arange(count) * speed, np.arange(len(sound)), sound).astype(np.float32)
