"""Selection of the frames of a video."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fervid.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Selects frames of a clip by stride or number.

    Args:
        frame_stride: use every ``frame_stride``-th frame of the window.
        frames_per_clip: number of frames evenly spaced over the window, used instead of ``frame_stride``. All frames
            are used if the window has fewer.
        window: ``all`` or ``centre`` (the middle half, where acted emotions peak).

    Raises:
        InputError: if a number is below 1 or the window is unknown.
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
        """Returns the sorted indices of the selected frames, for a clip with the given number of frames."""
        first, end = (frames // 4, frames - frames // 4) if self.window == "centre" else (0, frames)
        if self.frames_per_clip is None:
            return np.arange(first, end, int(self.frame_stride))
        # Use the middle of equal parts, which avoids both ends of a clip, where actors have a neutral expression.
        parts = np.linspace(first, end, min(int(self.frames_per_clip), end - first) + 1)
        return ((parts[:-1] + parts[1:]) / 2).astype(int)

    def numbers_within(self, first: int, end: int) -> np.ndarray:
        """Returns the sorted indices of the selected frames of a part of a recording, which is sampled like a clip.

        With a frame stride, overlapping parts share their frames. At least one frame is selected if there is any.

        Args:
            first: index of the first frame of the part.
            end: index after its last frame.
        """
        shared = self.frames_per_clip is None and self.window == "all"
        offset = -first % int(self.frame_stride) if shared else 0
        numbers = first + offset + self.numbers(max(0, end - first - offset))
        return numbers if len(numbers) or end <= first else np.array([(first + end) // 2])


@dataclass(frozen=True)
class Around:
    """Selects the frames around a given frame.

    Args:
        frame: index of the frame, from 0.
        reach: number of frames before it and after it.
    """

    frame: int
    reach: int = 0

    def numbers(self, frames: int) -> np.ndarray:
        """Returns the sorted indices of the selected frames, for a clip with the given number of frames."""
        return np.arange(max(self.frame - self.reach, 0), min(self.frame + self.reach + 1, frames))


@dataclass(frozen=True)
class Numbers:
    """Selects frames by their numbers.

    Args:
        selected: sorted indices of frames.
    """

    selected: np.ndarray

    def numbers(self, frames: int) -> np.ndarray:
        """Returns the sorted indices of the selected frames, for a clip with the given number of frames."""
        return self.selected[self.selected < frames]
