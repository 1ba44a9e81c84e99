"""Predicts the faces of a video or a camera stream, frame by frame."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

from fervid.errors import InputError
from fervid.media.decoding import Frame, read_frames
from fervid.media.sampling import Sampling
from fervid.media.sources import Source
from fervid.predict.inputs import Camera
from fervid.predict.pipeline import grouped, in_background
from fervid.predict.predictor import FacePrediction, Predictor
from fervid.predict.tracked_faces import tracked_faces

Smoothed = dict[int, tuple[float, list[np.ndarray]]]
"""Person -> time of the last frame, averages up to then: of the probabilities, and of the other parts."""

BATCH_FRAMES = 8  # frames whose faces are classified in one batch; those of a camera are classified one by one


def watch(
    predictor: Predictor,
    source: Source | Camera | str,
    *,
    frame_stride: int = 3,
    faces: Literal["all", "one"] = "all",
    smoothing: float = 0.0,
) -> Iterator[tuple[Frame, list[FacePrediction]]]:
    """Predicts the faces of a video or a camera stream.

    One thread decodes the next frames while another classifies the faces that were found.

    Args:
        predictor: a trained run.
        source: the video, or a camera.
        frame_stride: every ``frame_stride``-th frame is used, starting with the first.
        faces: ``all`` faces; or ``one``, the most prominent face, searched for near its last position as in the
            preparation of training videos.
        smoothing: time constant in seconds of the moving average of a person's probabilities, valence and arousal; 0:
            no smoothing.

    Yields:
        Each processed frame with the predictions for its faces; every face has a ``person`` number.

    Raises:
        ValueError: if the source is not a video, is damaged, truncated or far too large.
        OSError: if the source cannot be read.
        InputError: if the camera does not exist, ``frame_stride`` is below 1 or ``smoothing`` is negative.
    """
    if not 0 <= smoothing < math.inf:
        raise InputError(f"smoothing={smoothing} is out of range: use a number of seconds, 0 for no smoothing.")
    source = Path(source) if isinstance(source, str) else source
    sampling = Sampling(frame_stride)
    frames = source.frames(frame_stride) if isinstance(source, Camera) else read_frames(source, sampling)
    smoothed: Smoothed = {}
    groups = grouped(tracked_faces(predictor, frames, faces), 1 if isinstance(source, Camera) else BATCH_FRAMES)
    jobs = (
        ([found.frame for found in group], [(found.frame.image, found.faces, found.persons) for found in group])
        for group in groups
    )
    predictions: Iterator[tuple[list[Frame], list[list[FacePrediction]]]]
    if isinstance(source, Camera):
        predictions = ((group, predictor.predict_frames(found)) for group, found in jobs)
    else:
        predictions = in_background(predictor.predict_frames, jobs)
    for group, predictions_of_group in predictions:
        for frame, predicted in zip(group, predictions_of_group, strict=True):
            yield frame, [_smooth(face, frame.time, smoothed, smoothing, predictor.class_names) for face in predicted]


def share_cores() -> None:
    """Reserves one core for decoding and detection, which run in their own threads; the network uses the others.

    On a machine with two cores, a network that uses both would wait for the other threads at every layer.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))


def _smooth(
    face: FacePrediction,
    time: float,
    smoothed: Smoothed,
    constant: float,
    class_names: list[str],
) -> FacePrediction:
    """Replaces the predictions by the person's moving averages; weighted by time, as frames may be uneven."""
    if not constant or face.person is None:
        return face
    values = [face.probabilities, *face.others.values()]
    before, averages = smoothed.get(face.person, (time, values))
    weight = 1 - math.exp(-(time - before) / constant)
    averages = [average + weight * (own - average) for average, own in zip(averages, values, strict=True)]
    smoothed[face.person] = (time, averages)
    chances, *others = averages
    emotion = class_names[int(chances.argmax())] if class_names else ""
    return replace(face, probabilities=chances, emotion=emotion, others=dict(zip(face.others, others, strict=True)))
