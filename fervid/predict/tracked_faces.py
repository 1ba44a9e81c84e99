"""Finds the faces in the frames of a video and tracks the people."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from fervid.faces.face import Face, most_prominent
from fervid.faces.tracking import Tracker
from fervid.media.decoding import Frame
from fervid.predict.pipeline import prefetched
from fervid.predict.run_predictor import RunPredictor

PREFETCH_FRAMES = 8  # frames decoded in advance


class TrackedFaces(NamedTuple):
    """The faces in a frame.

    Attributes:
        frame: the frame.
        faces: its faces.
        persons: number of the person of each face, from 1.
    """

    frame: Frame
    faces: list[Face]
    persons: list[int]


def tracked_faces(
    predictor: RunPredictor, frames: Iterator[Frame], faces: Literal["all", "one"] = "all"
) -> Iterator[TrackedFaces]:
    """Finds the faces in each frame, while a thread decodes the next frames.

    Args:
        predictor: finds faces as in the training of its run.
        frames: frames of one video.
        faces: ``all`` faces; or ``one``, the most prominent face, searched for near its last position as in the
            preparation of training videos.
    """
    tracker, last = Tracker(), None
    for frame in prefetched(frames, PREFETCH_FRAMES):
        found = predictor.find(frame.image, last)
        if faces == "one":
            last = most_prominent(found, frame.image) if found else None
            found = [last] if last else []
        yield TrackedFaces(frame, found, tracker.number(found, frame.time))
