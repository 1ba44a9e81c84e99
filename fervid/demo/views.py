"""Computes what the page of the demo shows for pictures, webcam frames and videos, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid.demo.part_views import NO_HEAT_MAPS, mean_values, part_bars, score_sentence
from fervid.errors import InputError, first_line
from fervid.explain.heat_maps import heat_maps
from fervid.figures import overlay, timeline
from fervid.media.decoding import read_picture
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.face_tables import records
from fervid.predict.predictor import FacePrediction, Predictor
from fervid.predict.run_predictor import RunPredictor
from fervid.predict.video import watch
from fervid.runs.run import Run, open_run
from fervid.schema.parts import CLASSIFICATION, EMOTION, Part
from fervid.schema.predictions import probabilities
from fervid.schema.weights import describe_weights
from fervid.storage.escaping import markdown_text

MAX_FACES = 12  # faces of a picture that are shown one by one
CAUTION = "The network classifies {}, not feelings, and it is often wrong. Do not use it for decisions about people."
EXPRESSIONS = {"image": "facial expressions", "sound": "voices"}
NO_FACE = (
    "No face found. Detection works best if the face looks into the camera, is well lit and fills much of the view."
)


@dataclass(frozen=True)
class FaceView:
    """One face of a picture.

    Attributes:
        title: its number, counted from left to right.
        picture: the network's input, uint8 (S, S, 3) RGB.
        probabilities: probability of each emotion; empty if the run does not predict emotions.
        heat: the input overlaid with its heat map, uint8 (S, S, 3) RGB; None without a heat map.
        heat_title: description of the heat map.
        bars: HTML with the values of the other targets; empty if there are none.
    """

    title: str
    picture: np.ndarray
    probabilities: dict[str, float]
    heat: np.ndarray | None = None
    heat_title: str = ""
    bars: str = ""


@dataclass(frozen=True)
class PictureView:
    """The view of a picture.

    Attributes:
        image: the picture with its faces marked, uint8 (H, W, 3) RGB; None if it cannot be read.
        note: a message to the user; may be empty.
        faces: the faces one by one.
    """

    image: np.ndarray | None
    note: str = ""
    faces: list[FaceView] = field(default_factory=list)


@dataclass(frozen=True)
class VideoView:
    """The view of a video.

    Attributes:
        file: path of the annotated video; None if the video cannot be read.
        note: a message to the user; may be empty.
        persons: one row per person with the times and emotions; None if no face was found.
        timeline: timeline of each person's emotions; None if no face was found.
    """

    file: Path | None
    note: str = ""
    persons: pd.DataFrame | None = None
    timeline: Figure | None = None


def about(predictor: RunPredictor) -> str:
    """Returns Markdown that describes the run, its training data and its test result."""
    run = open_run(predictor.folder)
    data, split = run.results["data"], str(run.setting("split") or "own").replace("_", " ")
    rendered = ", **rendered faces, none of them real**" if data.get("rendered") else ""
    # For the user's own files, the name of the folder is more informative than "image_folder".
    corpus = " and ".join(
        about["name"] if about["published"] or not about["root"] else Path(about["root"]).name for about in run.corpora
    )
    score = "It was not tested."
    if run.task != CLASSIFICATION:
        score = score_sentence(run)
    elif not np.isnan(uar := run.metric("test/uar")):
        emotions = len(run.class_names)
        phrase, samples = run.level.phrase, "faces"
        if not run.classifies_pictures:
            phrase, samples = phrase.replace("pictures", "recordings"), "clips"
        score = (
            f"On {markdown_text(phrase)}, it recognises **{uar:.0%}** of the {samples}, averaged over {emotions} "
            f"emotions (test UAR; chance: {1 / emotions:.0%})."
        )
    weights = " ".join(describe_weights(run.results.get("weights") or {}))
    expressions = " and ".join(EXPRESSIONS[name] for name in run.modalities if name in EXPRESSIONS)
    return (
        f"# {_heading(run)}\n\n"
        f"Run **{markdown_text(predictor.folder.resolve().name)}**, trained on {markdown_text(corpus)}{rendered}, with "
        f"the split {markdown_text(split)} ({markdown_text(str(run.level))}). {score}\n\n"
        f"{weights and markdown_text(weights) + ' '}{CAUTION.format(expressions)}"
    )


def _heading(run: Run) -> str:
    if run.task != CLASSIFICATION:
        return "Facial expression analysis"
    return f"{'Facial emotion' if run.modalities == ['image'] else 'Emotion'} recognition"


def show_picture(predictor: Predictor, source: Path | bytes) -> PictureView:
    """Predicts a picture; shows the numbered faces and, for each, the input, the probabilities and the heat map.

    Args:
        predictor: the trained run.
        source: path or content of the picture file.
    """
    try:
        image = read_picture(source)
    except (ValueError, OSError) as error:
        return PictureView(None, f"This picture cannot be read: {first_line(error)}. Use JPEG, PNG or WebP.")
    found = sorted(predictor.picture(image), key=lambda face: -face.face.box[2] * face.face.box[3])
    if not found:
        return PictureView(image, NO_FACE)
    shown = _numbered(found[:MAX_FACES])
    notes = []
    if len(found) > MAX_FACES:
        notes.append(f"{len(found)} faces were found; the {MAX_FACES} largest are shown one by one.")
    heats: list[np.ndarray | None] = [None] * len(shown)
    if shown[0].others:
        notes.append(NO_HEAT_MAPS)
    else:
        try:
            heats = list(heat_maps(predictor.model, np.stack([face.picture for face in shown])))
        except InputError:  # a backbone without feature maps
            notes.append("This network has no feature maps, so no heat maps can be shown.")
    faces = [_view(face, predictor.class_names, heat) for face, heat in zip(shown, heats, strict=True)]
    return PictureView(annotate(image, [*shown, *found[MAX_FACES:]]), " ".join(notes), faces)


def show_frame(predictor: Predictor, image: np.ndarray) -> PictureView:
    """Predicts one webcam frame, uint8 (H, W, 3) RGB; shows the numbered faces and their probabilities."""
    faces = _numbered(predictor.picture(image))
    if not faces:
        return PictureView(image, NO_FACE)
    return PictureView(annotate(image, faces), "", [_view(face, predictor.class_names) for face in faces[:MAX_FACES]])


def show_video(
    predictor: Predictor, source: Path, folder: Path, *, longest: float, frame_stride: int, smoothing: float
) -> VideoView:
    """Predicts a video and writes an annotated copy.

    Args:
        predictor: the trained run.
        source: path to the video file.
        folder: folder for the annotated video.
        longest: maximum length in seconds; the rest is ignored, and the note says so.
        frame_stride: every ``frame_stride``-th frame is used.
        smoothing: time constant in seconds of the moving average of a person's probabilities; 0: no smoothing.
    """
    rows: list[dict[str, Any]] = []
    times: list[float] = []
    target = folder / f"{uuid4().hex}.mp4"
    truncated = False
    try:
        with AnnotatedVideo(target) as film:
            for frame, faces in watch(predictor, source, frame_stride=frame_stride, smoothing=smoothing):
                if frame.time > longest:
                    truncated = True
                    break
                film.write(frame, faces)
                times.append(frame.time)
                rows += records(source.name, frame, faces, predictor.parts)
    except (ValueError, OSError) as error:
        target.unlink(missing_ok=True)
        return VideoView(None, f"This video cannot be read: {first_line(error)}. Use MP4, MOV, AVI or WebM.")
    note = f"The video is longer than {longest:g} seconds; only the beginning is shown." if truncated else ""
    if not rows:
        return VideoView(target, f"{note} {NO_FACE}".lstrip())
    table = pd.DataFrame(rows)
    return VideoView(target, note, _persons(table, predictor.parts), timeline(table, predictor.parts, times))


def _numbered(faces: Sequence[FacePrediction]) -> list[FacePrediction]:
    """Numbers the faces from left to right."""
    in_order = sorted(faces, key=lambda face: face.face.box[0])
    return [replace(face, person=number) for number, face in enumerate(in_order, start=1)]


def _view(face: FacePrediction, class_names: Sequence[str], heat: np.ndarray | None = None) -> FaceView:
    return FaceView(
        f"Face {face.person}",
        face.picture,
        dict(zip(class_names, face.probabilities.tolist(), strict=True)),
        None if heat is None else overlay(face.picture, heat),
        f"the regions that contribute to {face.emotion}",
        part_bars(face.others),
    )


def _persons(table: pd.DataFrame, parts: Sequence[Part]) -> pd.DataFrame:
    """Returns when each person of a video is visible, and with which predictions."""
    class_names = next((part.names for part in parts if part.name == EMOTION), ())
    rows = []
    for person, seen in table.groupby("person"):
        row = {"Person": person, "Visible": f"{seen['time'].min():.1f} to {seen['time'].max():.1f} s"}
        if class_names:
            mean = probabilities(seen, class_names).mean(axis=0)
            shares = seen["emotion"].value_counts(normalize=True).head(3)
            best = np.argsort(mean)[::-1][:2]
            row["Share of frames"] = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            row["Mean probability"] = ", ".join(f"{class_names[index]} {mean[index]:.0%}" for index in best)
        rows.append(row | mean_values(seen, parts))
    return pd.DataFrame(rows)
