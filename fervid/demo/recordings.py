"""Computes what the page of the demo shows for videos and sounds with a run of clips or sounds, as plain values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid.errors import InputError, first_line
from fervid.figures import window_timeline
from fervid.media.formats import SOUND_SUFFIXES
from fervid.media.sound import RATE, SoundStream, encode_wav
from fervid.predict.recording import Recording
from fervid.predict.window_annotation import annotate_windows
from fervid.predict.window_predictor import WindowPredictor
from fervid.predict.window_tables import alone_column, window_records
from fervid.predict.windows import WindowPrediction
from fervid.schema.predictions import probabilities

NO_ANSWER = {
    "image": "No face found. Detection works best if the face looks into the camera and is well lit.",
    "sound": "There is nothing to hear.",
}


@dataclass(frozen=True)
class RecordingView:
    """The view of a video or sound.

    Attributes:
        video: path of the annotated video; None if there are no faces.
        sound: path of the sound as the network hears it; None if it hears none, or the video contains it.
        note: a message to the user; may be empty.
        answers: one row for each modality and person with the emotions; None if there is no answer.
        timeline: the emotions over time, for each modality; None if there is no answer.
    """

    video: Path | None = None
    sound: Path | None = None
    note: str = ""
    answers: pd.DataFrame | None = None
    timeline: Figure | None = None


def show_recording(
    predictor: WindowPredictor, source: Path, folder: Path, *, longest: float, step: float
) -> RecordingView:
    """Predicts the windows of a video or sound, and writes what can be played.

    Args:
        predictor: the trained run.
        source: path to the video or sound file.
        folder: folder for the annotated video and the sound.
        longest: maximum length in seconds; the rest is ignored, and the note says so.
        step: time from a window to the next in seconds.
    """
    rows: list[dict[str, Any]] = []
    predictions: list[WindowPrediction] = []
    names, alone, end, notes = predictor.class_names, predictor.answers_alone, 0.0, []
    recording = Recording(predictor, source, step=step, has_pictures=source.suffix.lower() not in SOUND_SUFFIXES)
    try:
        for window, answers in recording:
            if window.start > 0 and window.end > longest:
                notes.append(f"The recording is longer than {longest:g} seconds; only the beginning is used.")
                break
            end = window.end
            predictions += answers
            rows += window_records(source.name, answers, names, alone)
    except (ValueError, OSError, InputError) as error:
        notes.append(f"This file cannot be used{' to its end' if rows else ''}: {first_line(error)}.")
    if not rows:
        reasons = [NO_ANSWER[modality] for modality in predictor.modalities]
        return RecordingView(note=" ".join(notes or reasons))
    table = pd.DataFrame(rows)
    video = sound = None
    if recording.faces and recording.faces.boxes:
        video = folder / f"{uuid4().hex}.mp4"
        seen, has_sound = recording.faces, recording.has_sound
        for _ in annotate_windows(source, video, seen, predictions, end, has_sound=has_sound):
            pass
    elif recording.has_sound:
        sound = folder / f"{uuid4().hex}.wav"
        sound.write_bytes(encode_wav(_first_seconds(source, end), RATE))
    timeline = window_timeline(table, names, alone)
    return RecordingView(video, sound, " ".join(notes), _answers(table, predictor), timeline)


def _first_seconds(source: Path, seconds: float) -> np.ndarray:
    """Returns the first seconds of the sound of a file, as far as it can be read."""
    pieces, samples = [], 0
    try:
        for piece in SoundStream(source, RATE):
            pieces.append(piece.samples)
            samples += len(piece.samples)
            if samples >= seconds * RATE:
                break
    except (ValueError, OSError):
        pass  # the note says so
    return np.concatenate([np.empty(0, np.float32), *pieces])[: round(seconds * RATE)]


def _answers(table: pd.DataFrame, predictor: WindowPredictor) -> pd.DataFrame:
    """Returns the emotions from each modality alone and from all of them, of each person."""
    names, alone = predictor.class_names, predictor.answers_alone
    whole, rows = " and ".join(predictor.modalities), []
    if "sound" in alone:
        rows.append(_row("sound alone", table.drop_duplicates("start"), "sound", names))
    for person in [*sorted(table["person"].dropna().unique()), None]:
        part = table[table["person"].isna() if person is None else table["person"] == person]
        who = "" if person is None else f"person {person:.0f}: "
        if "image" in alone and who:
            rows.append(_row(f"{who}image alone", part, "image", names))
        if who or not alone:  # otherwise, it is that from the sound alone
            rows.append(_row(f"{who}{whole}", part, "", names))
    return pd.DataFrame([row for row in rows if row])


def _row(title: str, table: pd.DataFrame, modality: str, names: list[str]) -> dict[str, Any]:
    """Returns the emotions from one modality, or from all if it is empty; empty without an answer."""
    if modality:
        prefix = alone_column(modality, "")
        table = table[[name for name in table if str(name).startswith(prefix)]].rename(
            columns=lambda name: str(name).removeprefix(prefix)
        )
        table = table.dropna(subset=["emotion"])
    if table.empty:
        return {}
    mean = probabilities(table, names).mean(axis=0)
    shares = table["emotion"].value_counts(normalize=True).head(3)
    return {
        "From": title,
        "Share of windows": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        "Mean probability": ", ".join(f"{names[index]} {mean[index]:.0%}" for index in np.argsort(mean)[::-1][:2]),
    }
