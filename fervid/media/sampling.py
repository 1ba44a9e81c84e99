"""Which frames of a video are taken."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fervid.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are taken.

    Args:
        frame_stride: the frame stride: each ``frame_stride``-th frame of the window is taken.
        frames_per_clip: used instead of ``frame_stride``: frames spread evenly over the window, all of them if it has
            fewer.
        window: ``all`` or ``centre``, the middle half, where an acted emotion is at its height.

    Raises:
        InputError: if a number is below 1 or the window unknown.
    """

    frame_stride: int = 10
    frames_per_clip: int | None = None
    window: Literal["all", "centre"] = "all"

    def __post_init__(self) -> None:
        for name, value in (("frame_stride", self.frame_stride), ("frames_per_clip", self.frames_per_clip)):
            if value is not None and (isinstance(value, bool | str) or value < 1 or int(value) != value):
                raise InputError(f"dataset.{name}={value} is not a number of frames: give 1 or more.")
        if self.window not in ("all", "centre"):
            raise InputError(f"dataset.window={self.window} is unknown: choose all or centre.")

    def numbers(self, frames: int) -> np.ndarray:
        """Which of so many frames, as sorted numbers from 0."""
        first, end = (frames // 4, frames - frames // 4) if self.window == "centre" else (0, frames)
        if self.frames_per_clip is None:
            return np.arange(first, end, int(self.frame_stride))
        # The middles of equal parts: neither end of a clip, where actors rest, is favoured.
        parts = np.linspace(first, end, min(int(self.frames_per_clip), end - first) + 1)
        return ((parts[:-1] + parts[1:]) / 2).astype(int)


@dataclass(frozen=True)
class Around:
    """The frames around a given one.

    Args:
        frame: its number, from 0.
        reach: how many before it and after it.
    """

    frame: int
    reach: int = 0

    def numbers(self, frames: int) -> np.ndarray:
        """Which of so many frames, as sorted numbers from 0."""
        return np.arange(max(self.frame - self.reach, 0), min(self.frame + self.reach + 1, frames))
