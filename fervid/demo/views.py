"""What the page of the demo shows of pictures, webcam frames and videos, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid.errors import InputError, first_line
from fervid.explain.heat_maps import heat_maps
from fervid.figures import overlay, timeline
from fervid.media.decoding import read_picture
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.face_tables import records
from fervid.predict.predictor import Predictor, SeenFace
from fervid.predict.video import watch
from fervid.runs.run import open_run
from fervid.schema.predictions import probabilities
from fervid.storage.escaping import markdown_text

MAX_FACES = 12  # of a picture that are shown one by one
CAUTION = (
    "It reads faces, not feelings: the label says what a face looks like to this network, which is often wrong. "
    "Not for decisions about people."
)
NO_FACE = "No face was found. A face that looks into the camera, is well lit and fills a good part of it is found best."


@dataclass(frozen=True)
class FaceView:
    """One face of a picture.

    Attributes:
        title: its number, from left to right.
        picture: what the network saw, uint8 (S, S, 3) RGB.
        probabilities: by emotion.
        heat: the picture with its heat map laid over it, uint8 (S, S, 3) RGB; None without one.
        heat_title: what the heat map shows.
    """

    title: str
    picture: np.ndarray
    probabilities: dict[str, float]
    heat: np.ndarray | None = None
    heat_title: str = ""


@dataclass(frozen=True)
class PictureView:
    """What is shown of a picture.

    Attributes:
        image: with its faces marked, uint8 (H, W, 3) RGB; None if it cannot be read.
        note: a sentence to the visitor; empty if there is nothing to say.
        faces: one by one.
    """

    image: np.ndarray | None
    note: str = ""
    faces: list[FaceView] = field(default_factory=list)


@dataclass(frozen=True)
class VideoView:
    """What is shown of a video.

    Attributes:
        file: the annotated video; None if there is nothing to show.
        note: a sentence to the visitor; empty if there is nothing to say.
        people: one row a person: when it was seen and with which emotions; None if nobody was.
        timeline: of the people's emotions; None if nobody was seen.
    """

    file: Path | None
    note: str = ""
    people: pd.DataFrame | None = None
    timeline: Figure | None = None


def about(predictor: Predictor) -> str:
    """Markdown that says which run answers, what it was trained on and how far it can be believed."""
    run = open_run(predictor.folder)
    data, split = run.results["data"], str(run.setting("split") or "own").replace("_", " ")
    people = ", **rendered people, none of them real**" if data.get("rendered") else ""
    uar = run.metric("test/uar")
    # Of one's own files the name of the folder says more than that they lie in one.
    corpus = " and ".join(
        about["name"] if about["published"] or not about["root"] else Path(about["root"]).name for about in run.corpora
    )
    score = "it was never tested"
    if not np.isnan(uar):
        emotions = len(run.class_names)
        chance = f"a mean over {emotions} emotions (test UAR; guessing gives {1 / emotions:.0%})"
        score = f"it recognises **{uar:.0%}** of {markdown_text(run.level.phrase)}, {chance}"
    return (
        "# What does this face show?\n\n"
        f"Run **{markdown_text(predictor.folder.resolve().name)}**, trained on {markdown_text(corpus)}{people}; split "
        f"{markdown_text(split)} ({markdown_text(str(run.level))}): {score}.\n\n{CAUTION}"
    )


def show_picture(predictor: Predictor, source: Path | bytes) -> PictureView:
    """A picture with its faces numbered, and of each what the network saw, how it answers and why.

    Args:
        predictor: the trained run.
        source: the picture file.
    """
    try:
        image = read_picture(source)
    except (ValueError, OSError) as error:
        return PictureView(None, f"This picture cannot be read: {first_line(error)}. JPEG, PNG and WebP work.")
    found = sorted(predictor.picture(image), key=lambda seen: -seen.face.box[2] * seen.face.box[3])
    if not found:
        return PictureView(image, NO_FACE)
    shown = _numbered(found[:MAX_FACES])
    notes = []
    if len(found) > MAX_FACES:
        notes.append(f"{len(found)} faces were found; the {MAX_FACES} largest are shown one by one.")
    heats: list[np.ndarray | None]
    try:
        heats = list(heat_maps(predictor.model, np.stack([seen.picture for seen in shown])))
    except InputError:  # a backbone without maps
        heats = [None] * len(shown)
        notes.append("This network has no maps from which it could be told where it looks.")
    faces = [_face(seen, predictor.class_names, heat) for seen, heat in zip(shown, heats, strict=True)]
    return PictureView(annotate(image, [*shown, *found[MAX_FACES:]]), " ".join(notes), faces)


def show_frame(predictor: Predictor, image: np.ndarray) -> PictureView:
    """One frame of a webcam, uint8 (H, W, 3) RGB, with its faces numbered, and how the network answers."""
    faces = _numbered(predictor.picture(image))
    if not faces:
        return PictureView(image, NO_FACE)
    return PictureView(annotate(image, faces), "", [_face(seen, predictor.class_names) for seen in faces[:MAX_FACES]])


def show_video(
    predictor: Predictor, source: Path, folder: Path, *, longest: float, frame_stride: int, smoothing: float
) -> VideoView:
    """Watches a video and writes it with its faces marked.

    Args:
        predictor: the trained run.
        source: the video file.
        folder: where the annotated video goes.
        longest: seconds; what comes after is left out, and said so.
        frame_stride: the frame stride.
        smoothing: time constant in seconds of the moving average of a person's probabilities; 0: none.
    """
    rows: list[dict[str, Any]] = []
    times: list[float] = []
    target = folder / f"{uuid4().hex}.mp4"
    cut = False
    try:
        with AnnotatedVideo(target) as film:
            for frame, faces in watch(predictor, source, frame_stride=frame_stride, smoothing=smoothing):
                if frame.time > longest:
                    cut = True
                    break
                film.write(frame, faces)
                times.append(frame.time)
                rows += records(source.name, frame, faces, predictor.class_names)
    except (ValueError, OSError) as error:
        target.unlink(missing_ok=True)
        return VideoView(None, f"This video cannot be read: {first_line(error)}. MP4, MOV, AVI and WebM work.")
    note = f"The video is longer than {longest:g} seconds: this is its beginning." if cut else ""
    if not rows:
        return VideoView(target, f"{note} {NO_FACE}".lstrip())
    table = pd.DataFrame(rows)
    names = predictor.class_names
    return VideoView(target, note, _people(table, names), timeline(table, names, times))


def _numbered(faces: Sequence[SeenFace]) -> list[SeenFace]:
    """The faces from left to right, counted."""
    in_order = sorted(faces, key=lambda seen: seen.face.box[0])
    return [replace(seen, person=number) for number, seen in enumerate(in_order, start=1)]


def _face(seen: SeenFace, class_names: Sequence[str], heat: np.ndarray | None = None) -> FaceView:
    return FaceView(
        f"Face {seen.person}",
        seen.picture,
        dict(zip(class_names, seen.probabilities.tolist(), strict=True)),
        None if heat is None else overlay(seen.picture, heat),
        f"what speaks for {seen.emotion}",
    )


def _people(table: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """How long the people of a video were seen, and with which emotions."""
    rows = []
    for person, part in table.groupby("person"):
        mean = probabilities(part, class_names).mean(axis=0)
        shares = part["emotion"].value_counts(normalize=True).head(3)
        best = np.argsort(mean)[::-1][:2]
        rows.append(
            {
                "Person": person,
                "Seen": f"{part['time'].min():.1f} to {part['time'].max():.1f} s",
                "Share of frames": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
                "Mean probability": ", ".join(f"{class_names[one]} {mean[one]:.0%}" for one in best),
            }
        )
    return pd.DataFrame(rows)
