"""The windows of a recording, and what a network of clips or sounds is shown and answers for each of them."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fervid.predict.answers import Answer

TOLERANCE = 0.05  # seconds by which the last window may be longer; stated lengths differ by a frame or two


class Window(NamedTuple):
    """A part of a recording.

    Attributes:
        start: seconds after the begin of the recording.
        end: seconds after the begin of the recording.
    """

    start: float
    end: float

    @property
    def middle(self) -> float:
        """Seconds from the begin of the recording to the middle of the window."""
        return (self.start + self.end) / 2


def number_of_windows(duration: float, seconds: float, step: float) -> int:
    """Returns the number of windows that cover a recording; one if it is not longer than a window.

    Args:
        duration: length of the recording in seconds.
        seconds: length of a window; the last one may be shorter by less than a step.
        step: time from a window to the next.
    """
    return max(0, math.ceil((duration - seconds - TOLERANCE) / step)) + 1


@dataclass(frozen=True)
class WindowInput:
    """What the network is shown of a window.

    Attributes:
        window: the window.
        person: number of the tracked person; None if the network is shown only sound.
        frames: number of processed frames with the person's face.
        pictures: the person's faces, uint8 (T, size, size, 3) RGB; None if there are none.
        sound: int16 (N,), mono, 16 kHz; None if there is none that can be used.
    """

    window: Window
    person: int | None = None
    frames: int = 0
    pictures: np.ndarray | None = None
    sound: np.ndarray | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that are present."""
        given = {"image": self.pictures, "sound": self.sound}
        return tuple(name for name, values in given.items() if values is not None)


@dataclass(frozen=True)
class WindowPrediction:
    """The network's prediction for a window and a person.

    Attributes:
        window: the window.
        modalities: the modalities that were present.
        probabilities: probability of each emotion in ``class_names``, shape (num_classes,).
        emotion: the most likely emotion.
        person: number of the tracked person; None if the network was shown only sound.
        frames: number of processed frames with the person's face.
        alone: probabilities from each modality alone, if the network can answer with one.
        answer: how it is answered, if answers are calibrated (:class:`fervid.predict.answers.Answers`).
    """

    window: Window
    modalities: tuple[str, ...]
    probabilities: np.ndarray
    emotion: str
    person: int | None = None
    frames: int = 0
    alone: dict[str, np.ndarray] = field(default_factory=dict)
    answer: Answer | None = None

    @property
    def confidence(self) -> float:
        """Probability of the most likely emotion."""
        return float(self.probabilities.max())
