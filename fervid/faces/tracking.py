"""Tells the people of a video apart: a face that lies where one lay just before is the same person's."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fervid.faces.face import Face, intersection


class Tracker:
    """Numbers the people of a video, from 1, in the order of their first appearance.

    Faces are matched with where people were last seen, so that their boxes overlap most in all (the Hungarian method
    on intersection over union, as in SORT, Bewley et al. 2016). Nothing is known of what people look like: one who
    comes back after a while has a new number, and one who takes another's place at a cut may keep the other's.

    Args:
        patience: seconds a person may be out of sight.
        min_overlap: intersection over union that two boxes of one person have at least.
    """

    def __init__(self, patience: float = 1.5, min_overlap: float = 0.15):
        self.patience = patience
        self.min_overlap = min_overlap
        self._people = 0
        self._last: dict[int, tuple[float, Sequence[float]]] = {}  # person: when and where seen last

    def number(self, faces: Sequence[Face], time: float) -> list[int]:
        """The number of each face's person.

        Args:
            faces: of the next frame.
            time: of the frame, in seconds; later than that of the one before.
        """
        self._last = {person: seen for person, seen in self._last.items() if time - seen[0] <= self.patience}
        known = list(self._last)
        overlaps = np.array(
            [[_overlap(face.box, self._last[person][1]) for person in known] for face in faces], dtype=float
        ).reshape(len(faces), len(known))
        overlaps[overlaps < self.min_overlap] = 0  # no pair: it may not outweigh one that is
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        persons = {face: known[column] for face, column in pairs if overlaps[face, column] > 0}
        for number, face in enumerate(faces):
            if number not in persons:
                self._people += 1
                persons[number] = self._people
            self._last[persons[number]] = (time, face.box)
        return [persons[number] for number in range(len(faces))]


def _overlap(box: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes: left, top, width, height."""
    common = intersection(box, other)
    return common / (box[2] * box[3] + other[2] * other[3] - common) if common else 0.0
