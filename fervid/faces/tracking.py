"""Tracks people in a video by the positions of their faces."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fervid.faces.face import Face, intersection


class Tracker:
    """Assigns numbers to the people in a video, from 1, in the order of their first appearance.

    Faces are matched to the last known positions so that the total overlap of boxes is largest (the Hungarian method on
    intersection over union, as in SORT, Bewley et al. 2016). Appearance is not used: a person who reappears later gets
    a new number, and a person who takes the place of another at a cut may get the other's number.

    Args:
        patience: maximum number of seconds for which a person may be out of sight.
        min_overlap: minimum intersection over union of two boxes of one person.
    """

    def __init__(self, patience: float = 1.5, min_overlap: float = 0.15):
        self.patience = patience
        self.min_overlap = min_overlap
        self._people = 0
        self._last: dict[int, tuple[float, Sequence[float]]] = {}  # last time and box of each person

    def number(self, faces: Sequence[Face], time: float) -> list[int]:
        """Returns the number of the person of each face.

        Args:
            faces: faces in the next frame.
            time: time of the frame in seconds, later than that of the previous frame.
        """
        self._last = {person: seen for person, seen in self._last.items() if time - seen[0] <= self.patience}
        known = list(self._last)
        overlaps = np.array(
            [[_overlap(face.box, self._last[person][1]) for person in known] for face in faces], dtype=float
        ).reshape(len(faces), len(known))
        overlaps[overlaps < self.min_overlap] = 0  # not a match, so it must not affect the assignment
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        persons = {face: known[column] for face, column in pairs if overlaps[face, column] > 0}
        for number, face in enumerate(faces):
            if number not in persons:
                self._people += 1
                persons[number] = self._people
            self._last[persons[number]] = (time, face.box)
        return [persons[number] for number in range(len(faces))]


def _overlap(box: Sequence[float], other: Sequence[float]) -> float:
    """Returns the intersection over union of two boxes (left, top, width, height)."""
    common = intersection(box, other)
    return common / (box[2] * box[3] + other[2] * other[3] - common) if common else 0.0
