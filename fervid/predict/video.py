"""Looks at a video, or at a camera, frame by frame."""

import math
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

from fervid.errors import InputError
from fervid.faces.face import most_prominent
from fervid.faces.tracking import Tracker
from fervid.media.decoding import Frame, read_frames
from fervid.media.sampling import Sampling
from fervid.media.sources import Source
from fervid.predict.inputs import Camera
from fervid.predict.predictor import Look, Predictor, SeenFace

AHEAD = 8  # frames that are decoded before they are wanted
TOGETHER = 8  # frames whose faces are classified at once; a camera's are not kept waiting


def watch(
    predictor: Predictor,
    source: Source | Camera | str,
    *,
    frame_stride: int = 3,
    faces: Literal["all", "one"] = "all",
    smoothing: float = 0.0,
) -> Iterator[tuple[Frame, list[SeenFace]]]:
    """What the faces of a video show; one thread decodes the next frames, another classifies those looked at.

    Args:
        predictor: a trained run.
        source: the video, or a camera.
        frame_stride: each so manieth frame is looked at, from the first one on.
        faces: ``all``; or ``one``, the most prominent, looked for where it was last: as training videos are prepared.
        smoothing: time constant in seconds of the moving average of a person's probabilities; 0: none.

    Yields:
        Each frame that was looked at, with the faces in it; each face has the number of its ``person``.

    Raises:
        ValueError: if the source is no video, damaged, truncated, or of absurd size.
        OSError: if it cannot be read.
        InputError: if there is no such camera, ``frame_stride`` is below 1, or ``smoothing`` no time.
    """
    if not 0 <= smoothing < math.inf:
        raise InputError(f"smoothing={smoothing} is no time: give seconds, 0 for none.")
    source = Path(source) if isinstance(source, str) else source
    sampling = Sampling(frame_stride)
    frames = source.frames(frame_stride) if isinstance(source, Camera) else read_frames(source, sampling)
    tracker, last = Tracker(), None
    smoothed: dict[int, tuple[float, np.ndarray]] = {}  # of each person: when, and the average up to then

    def looks() -> Iterator[tuple[list[Frame], list[Look]]]:
        nonlocal last
        for group in _groups(_ahead(frames), 1 if isinstance(source, Camera) else TOGETHER):
            found_in_group: list[Look] = []
            for frame in group:
                found = predictor.find(frame.image, last)
                if faces == "one":
                    last = most_prominent(found, frame.image) if found else None
                    found = [last] if last else []
                found_in_group.append((frame.image, found, tracker.number(found, frame.time)))
            yield group, found_in_group

    answers: Iterator[tuple[list[Frame], list[list[SeenFace]]]]
    if isinstance(source, Camera):
        answers = ((group, predictor.see_frames(found)) for group, found in looks())
    else:
        answers = _classified(predictor, looks())
    for group, seen_in_group in answers:
        for frame, seen in zip(group, seen_in_group, strict=True):
            yield frame, [_smooth(face, frame.time, smoothed, smoothing, predictor.class_names) for face in seen]


def share_cores() -> None:
    """Leaves a core to decoding and detection, which have threads of their own, and the others to the network.

    On two cores a network that wants both waits for the other threads at every layer.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))


def _classified(
    predictor: Predictor, looks: Iterator[tuple[list[Frame], list[Look]]]
) -> Iterator[tuple[list[Frame], list[list[SeenFace]]]]:
    """The faces of each group of frames, classified in a thread while those of the next are looked for."""
    with ThreadPoolExecutor(1, thread_name_prefix="classify") as thread:
        waiting: deque[tuple[list[Frame], Future[list[list[SeenFace]]]]] = deque()
        try:
            for group, found in looks:
                waiting.append((group, thread.submit(predictor.see_frames, found)))
                if len(waiting) > 1:
                    group, answer = waiting.popleft()
                    yield group, answer.result()
        except (ValueError, OSError, MemoryError):  # a file that breaks off: what came before is kept
            for group, answer in waiting:
                yield group, answer.result()
            raise
        for group, answer in waiting:
            yield group, answer.result()


def _groups(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """So many frames at a time; those before damage are handed on before it is told of."""
    group: list[Frame] = []
    try:
        for frame in frames:
            group.append(frame)
            if len(group) == size:
                yield group
                group = []
    except (ValueError, OSError, MemoryError):
        yield group
        raise
    yield group


def _smooth(
    face: SeenFace, time: float, smoothed: dict[int, tuple[float, np.ndarray]], constant: float, class_names: list[str]
) -> SeenFace:
    """The face with the average of its person's probabilities; by the clock, so that frames may come unevenly."""
    if not constant or face.person is None:
        return face
    before, average = smoothed.get(face.person, (time, face.probabilities))
    average = average + (1 - math.exp(-(time - before) / constant)) * (face.probabilities - average)
    smoothed[face.person] = (time, average)
    return replace(face, probabilities=average, emotion=class_names[int(average.argmax())])


def _ahead(frames: Iterator[Frame]) -> Generator[Frame]:
    """The same frames, the next few of them decoded in a thread: decoding leaves Python to others."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as thread:
        coming = deque(thread.submit(next, frames, None) for _ in range(AHEAD))
        try:
            while (frame := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, frames, None))
                yield frame
        finally:
            thread.shutdown(cancel_futures=True)
            frames.close()  # type: ignore[attr-defined]  # closes the file now, whatever ended this
