"""The faces in a video, found as far as they are needed, and forgotten afterwards."""

from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

import cv2
import numpy as np

from fervid.errors import first_line
from fervid.media.decoding import NoStream, ShownFrames, read_frames, shown_frames
from fervid.media.sampling import Numbers
from fervid.media.sources import Source
from fervid.predict.pipeline import READING_ERRORS
from fervid.predict.tracked_faces import TrackedFaces, tracked_faces
from fervid.predict.window_predictor import WindowPredictor
from fervid.predict.windows import number_of_windows

MAX_SECONDS = 24 * 3600.0  # longer videos have mistakes in their time stamps
ROUNDING_SECONDS = 5e-4  # time stamps are often in whole milliseconds


class Crops(NamedTuple):
    """The faces of one frame: its number, and the crop of each person."""

    number: int
    pictures: dict[int, np.ndarray]


class FaceTrack:
    """The faces of the people in a video, window by window.

    Errors of the file end the video; they are kept in :attr:`failure`, so that what precedes them can be used.

    Args:
        predictor: finds and crops faces as in the training of its run.
        source: the video.
        faces: ``all``, or ``one`` for the most prominent face, which is one person as in training.

    Attributes:
        begin: time of the first frame in seconds, as the container counts; None if there are no frames.
        is_absent: whether the file has no pictures, as opposed to damaged ones.
        failure: why the video has ended before its end; None if it has not.
        offset: seconds from the begin of the recording to the first frame.
        boxes: times in seconds and boxes (left, top, width, height) of each person in the processed frames.
        frames: number of processed frames.
        shown: the frames of the video that can be shown.
    """

    def __init__(self, predictor: WindowPredictor, source: Source, faces: Literal["all", "one"] = "all"):
        self._predictor, self._source, self._faces = predictor, source, faces
        self.shown = ShownFrames([], {}, 0.0)
        self._crops: deque[Crops] = deque()
        self._coming: Iterator[TrackedFaces] = iter(())
        self._times, self._parts = np.empty(0), [np.empty(0, dtype=int)]
        self._last = 0.0  # time of the last processed frame
        self._has_ended = False
        self.is_absent, self.offset, self.frames = False, 0.0, 0
        self.failure: str | None = None
        self.boxes: dict[int, list[tuple[float, tuple[float, float, float, float]]]] = {}
        try:
            self.shown = shown_frames(source)
            if self.shown.times[-1] > MAX_SECONDS:
                raise ValueError(f"its time stamps span more than {MAX_SECONDS / 3600:.0f} hours")
            self.begin: float | None = self.shown.begin
        except READING_ERRORS as error:
            self.begin = None
            self._fail(error)

    def start_at(self, origin: float, seconds: float, step: float) -> None:
        """Sets the time of the container at which the recording begins, and chooses the frames of its windows.

        Args:
            origin: the time, from which all other times are counted.
            seconds: length of the windows.
            step: time from a window to the next.
        """
        if self.begin is None:
            return
        self.offset = self.begin - origin
        self._times = np.array(self.shown.times) + self.offset
        starts = np.arange(number_of_windows(self.end, seconds, step)) * step
        firsts, ends = self._number_at(starts), self._number_at(starts + seconds)
        ends[-1] = len(self._times)
        sampling = self._predictor.sampling
        self._parts = [sampling.numbers_within(first, end) for first, end in zip(firsts, ends, strict=True)]
        frames = read_frames(self._source, Numbers(np.unique(np.concatenate(self._parts))), self.shown)
        self._coming = tracked_faces(self._predictor, frames, self._faces)

    @property
    def end(self) -> float:
        """Seconds until the end of the last frame; of the last one before a failure."""
        if self.begin is None or self.failure:
            return self._last
        times = self.shown.times
        return self.offset + times[-1] + (float(np.median(np.diff(times))) if len(times) > 1 else 0.0)

    def read_to(self, time: float) -> None:
        """Finds the faces in all frames up to a time."""
        while not self._has_ended and self._last <= time:
            try:
                found = next(self._coming)
            except StopIteration:
                self._has_ended = True
                return
            except (*READING_ERRORS, cv2.error) as error:
                self._fail(error)
                return
            self._add(found)

    def _add(self, found: TrackedFaces) -> None:
        pictures = {}
        self.frames, self._last = self.frames + 1, found.frame.time + self.offset
        for face, number in zip(found.faces, found.persons, strict=True):
            person = 1 if self._faces == "one" else number
            pictures[person], _ = self._predictor.crop(found.frame.image, face)
            self.boxes.setdefault(person, []).append((self._last, face.box))
        self._crops.append(Crops(found.frame.number, pictures))

    def between(self, start: float, end: float, window: int) -> dict[int, list[np.ndarray]]:
        """Returns the faces of each person in a window whose frames have been read.

        Args:
            start: begin of the window.
            end: end of the window.
            window: number of the window, from 0.
        """
        first, after = self._number_at(np.array([start, end])).tolist()
        # Windows beyond the last one, which has the end of the video, are those of a longer sound track.
        chosen = set(self._parts[window].tolist()) if window < len(self._parts) else None
        persons: dict[int, list[np.ndarray]] = {}
        for crops in self._crops:
            if first <= crops.number < after if chosen is None else crops.number in chosen:
                for person, picture in crops.pictures.items():
                    persons.setdefault(person, []).append(picture)
        return persons

    def forget(self, before: float) -> None:
        """Drops the faces before a time."""
        first = int(self._number_at(np.array(before)))
        while self._crops and self._crops[0].number < first:
            self._crops.popleft()

    def _number_at(self, times: np.ndarray) -> np.ndarray:
        """Returns the number of the first frame at or after some times."""
        return np.searchsorted(self._times, times - ROUNDING_SECONDS)

    def _fail(self, error: Exception) -> None:
        self._has_ended, self.is_absent = True, isinstance(error, NoStream)
        self.failure = getattr(error, "strerror", None) or first_line(error)
