"""Writes a copy of a video in which each face has the prediction of the window that is around the frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from fervid.faces.face import Face
from fervid.media.decoding import read_frames
from fervid.media.sampling import Sampling
from fervid.media.sound import RATE, SoundPiece, SoundStream
from fervid.media.sources import Source
from fervid.predict.annotation import AnnotatedVideo
from fervid.predict.answers import Answer
from fervid.predict.face_track import FaceTrack
from fervid.predict.pipeline import READING_ERRORS
from fervid.predict.windows import WindowPrediction
from fervid.schema.parts import Part

FRAME_STRIDE = 3  # of the video, every third frame is shown
MAX_GAP_SECONDS = 1.5  # between two positions of a face, over which it is followed
HOLD_SECONDS = 0.2  # before the first and after the last position


@dataclass(frozen=True)
class FollowedFace:
    """A face in a frame that may not have been searched; see :class:`fervid.predict.annotation.MarkedFace`."""

    face: Face
    person: int | None
    emotion: str
    probabilities: np.ndarray
    answer: Answer | None = None
    others: Mapping[Part, np.ndarray] = field(default_factory=dict)


class FollowedFaces:
    """The faces of a video with the predictions of its windows, at any time.

    Args:
        track: positions of the faces in the processed frames.
        predictions: the predictions.
    """

    def __init__(self, track: FaceTrack, predictions: Sequence[WindowPrediction]):
        self._boxes = {
            person: (np.array([time for time, _ in seen]), np.array([box for _, box in seen], dtype=float))
            for person, seen in track.boxes.items()
        }
        self._predictions: dict[int, list[WindowPrediction]] = {}
        for each in predictions:
            if each.person is not None:
                self._predictions.setdefault(each.person, []).append(each)
        self._middles = {
            person: np.array([each.window.middle for each in found]) for person, found in self._predictions.items()
        }

    def at(self, time: float) -> list[FollowedFace]:
        """Returns the faces at a time in seconds, between known positions on a straight line."""
        faces = []
        for person, found in self._predictions.items():
            box = self._box(person, time)
            nearest = found[int(np.abs(self._middles[person] - time).argmin())]
            if box is not None and nearest.window.start <= time <= nearest.window.end:
                faces.append(FollowedFace(Face(box), person, nearest.emotion, nearest.probabilities, nearest.answer))
        return faces

    def _box(self, person: int, time: float) -> tuple[float, float, float, float] | None:
        times, boxes = self._boxes[person]
        after = int(np.searchsorted(times, time))
        before = times[after - 1] if after else -np.inf
        coming = times[after] if after < len(times) else np.inf
        if coming - before > MAX_GAP_SECONDS and min(time - before, coming - time) > HOLD_SECONDS:
            return None
        left, top, width, height = (float(np.interp(time, times, values)) for values in boxes.T)
        return left, top, width, height


def annotate_windows(
    source: Source,
    path: Path,
    track: FaceTrack,
    predictions: Sequence[WindowPrediction],
    until: float,
    *,
    has_sound: bool = False,
) -> Iterator[float]:
    """Writes the annotated video; a second pass, so that no frames are held in memory. Yields the finished seconds.

    Args:
        source: the video.
        path: path of the ``.mp4`` file.
        track: positions of the faces.
        predictions: predictions of all windows.
        until: end of the last window; what is later is left out.
        has_sound: whether the sound track is copied, as the network hears it.

    Raises:
        OSError: if the file cannot be written or the disk is full.
    """
    faces = FollowedFaces(track, predictions)
    frames = read_frames(source, Sampling(FRAME_STRIDE), track.shown)
    sound = _sound(source, until, track) if has_sound else iter(())
    coming: SoundPiece | None = None
    time = 0.0
    with AnnotatedVideo(path, RATE if has_sound else None) as video:
        while time <= until:
            try:
                frame = next(frames)
            except (StopIteration, *READING_ERRORS, cv2.error):  # the damage has been recorded in the first pass
                break
            time = frame.time + track.offset
            if time <= until:
                video.write(frame, faces.at(time))
                while (coming := coming or next(sound, None)) and coming.start / RATE <= frame.time:
                    video.write_sound(coming.start / RATE, coming.samples)
                    coming = None
                yield time
        for piece in chain([coming] if coming else [], sound):
            video.write_sound(piece.start / RATE, piece.samples)


def _sound(source: Source, until: float, track: FaceTrack) -> Iterator[SoundPiece]:
    """Yields the sound up to a time or to damage, counted from the first frame."""
    begin = round(track.shown.begin * RATE)
    try:
        for start, samples in SoundStream(source, RATE):
            if (start - begin) / RATE + track.offset > until:
                return
            yield SoundPiece(start - begin, samples)
    except READING_ERRORS:  # recorded in the first pass
        return
