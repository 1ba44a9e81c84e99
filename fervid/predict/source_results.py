"""Counts the predictions for each source and prints their summary."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from rich.console import Console

from fervid.faces.clip_faces import flatness
from fervid.media.decoding import Frame
from fervid.predict.inputs import Camera, Item
from fervid.predict.part_texts import present_units
from fervid.predict.predictor import FacePrediction
from fervid.predict.windows import Window, WindowPrediction
from fervid.prepare.card import flat_faces
from fervid.schema.columns import DIMENSIONS
from fervid.schema.parts import AFFECT
from fervid.schema.tables import Table

MAX_UNITS = 3  # action units in a row of the summary: the most frequent ones
FORMATS = {"confidence": "{:.0%}", **dict.fromkeys(DIMENSIONS, "{:+.2f}")}


@dataclass
class SourceResult:
    """The predictions for the frames of one source, counted.

    Attributes:
        item: the source.
        times: times of the processed frames in seconds.
        spent: processing time in seconds.
        emotions: number of faces with each answer: the most likely emotion, or unsure.
        confidence: sum of the confidences for each of these answers.
        predicted: number of predictions.
        affect: sums of valence and arousal; empty if they are not predicted.
        units: number of faces with each action unit.
        persons: number of frames in which each person was found.
        flat: number of blank faces by kind: black, white or constant.
        failure: why the source could not be read to its end; None if it could.
    """

    unit: ClassVar[str] = "frames"
    nothing: ClassVar[str] = "no face"  # if there is no prediction

    item: Item
    times: list[float] = field(default_factory=list)
    spent: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)
    confidence: dict[str, float] = field(default_factory=dict)
    predicted: int = 0
    affect: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    persons: Counter[int | None] = field(default_factory=Counter)
    flat: Counter[str] = field(default_factory=Counter)
    failure: str | None = None

    @property
    def steps(self) -> int:
        """Number of processed frames."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Length of the video up to the last processed frame; 0 for a picture."""
        return self.times[-1] if self.times else 0.0

    @property
    def num_persons(self) -> int:
        """Number of persons found in at least two frames; a face found only once is often a false detection."""
        return sum(1 for person, frames in self.persons.items() if person is not None and frames >= min(2, self.steps))

    def add(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        """Adds the predictions for a frame."""
        self.times.append(frame.time)
        for face in faces:
            self._count(face)
            for part, values in face.others.items():
                if part.name == AFFECT:
                    self.affect.update(dict(zip(part.names, values.tolist(), strict=True)))
                else:
                    self.units.update(dict.fromkeys(part.titles, 0))
                    self.units.update(present_units(part, values))
            self.flat.update([flat] if (flat := flatness(face.picture)) else [])

    def _count(self, prediction: FacePrediction | WindowPrediction) -> None:
        self.predicted += 1
        self.persons[prediction.person] += 1
        emotion, confidence, answer = prediction.emotion, prediction.confidence, prediction.answer
        if not emotion:
            return
        if answer is not None and answer.emotion is not None and answer.confidence is not None:
            emotion, confidence = answer.emotion, answer.confidence
        self.emotions[emotion] += 1
        self.confidence[emotion] = self.confidence.get(emotion, 0.0) + confidence

    def row(self) -> dict[str, Any]:
        """Returns the columns of the summary that only frames have."""
        is_video = self.item.is_video
        return {
            "frames": self.steps if is_video else None,
            "faces": self.predicted,
            "persons": self.num_persons if is_video else None,
        }


@dataclass
class WindowResult(SourceResult):
    """The predictions for the windows of one source, counted.

    Attributes:
        times: ends of the windows in seconds.
        emotions: number of predictions with each answer: the most likely emotion, or unsure.
        persons: number of windows in which each person was found; None: windows with sound alone.
        modalities: number of predictions with each combination of modalities.
        answered: number of windows with a prediction.
    """

    unit: ClassVar[str] = "windows"
    nothing: ClassVar[str] = "no answer"

    modalities: Counter[str] = field(default_factory=Counter)
    answered: int = 0

    def add_window(self, window: Window, predictions: Sequence[WindowPrediction]) -> None:
        """Adds the predictions for a window."""
        self.times.append(window.end)
        self.answered += bool(predictions)
        for each in predictions:
            self._count(each)
            self.modalities["+".join(each.modalities)] += 1

    def row(self) -> dict[str, Any]:
        """Returns the columns of the summary that only windows have."""
        counts = ", ".join(f"{name} {number}" for name, number in self.modalities.most_common())
        return {
            "windows": self.steps,
            "answered": self.answered,
            "persons": str(self.num_persons) if set(self.persons) - {None} else "",
            "modalities": counts,
        }


def print_summary(results: Sequence[SourceResult], folder: Path, console: Console) -> None:
    """Prints one row per source, then the failures, the speed and the output folder."""
    read = [result for result in results if result.steps]
    if read:
        Table("sources", "Predictions", pd.DataFrame(_rows(read)), FORMATS).print(console)
    without = sum(1 for result in read if not result.predicted)
    if without:
        nothing = "no face found in" if read[0].unit == "frames" else "no answer for"
        console.print(f"{nothing} {without} of {len(read)} sources")
    if flat := sum((result.flat for result in read), Counter[str]()):
        first = next(result.item.name for result in read if result.flat)
        console.print(f"{flat_faces(flat)} The first is in {first}.")
    failed = sum(1 for result in results if result.failure)
    if failed:
        console.print(f"{failed} of {len(results)} sources failed: see failures.csv")
    steps, spent = sum(result.steps for result in read), sum(result.spent for result in read)
    units = "windows" if read and read[0].unit == "windows" else "pictures and frames"
    speed = f"{steps} {units} in {spent:.1f} s, {steps / max(spent, 1e-9):.1f} per second"
    played = [result for result in read if result.item.has_length and not isinstance(result.item.source, Camera)]
    if played:
        factor = sum(result.seconds for result in played) / max(sum(result.spent for result in played), 1e-9)
        kind = "videos" if all(result.item.is_video for result in played) else "recordings"
        speed += f"; {kind} at {factor:.1f} times real time"
    console.print(speed)
    console.print(f"Output: {folder}")


def _rows(results: Sequence[SourceResult]) -> list[dict[str, Any]]:
    """Returns one row per source; names are relative to the folder that all sources share."""
    folders = {str(Path(result.item.name).parent) for result in results}
    common = os.path.commonpath(folders) if len({name.startswith("/") for name in folders}) == 1 else "."
    has_affect, has_units = (any(getattr(result, name) for result in results) for name in ("affect", "units"))
    has_emotions = any(result.emotions for result in results) or not (has_affect or has_units)
    rows = []
    for result in results:
        row = {"source": os.path.relpath(result.item.name, common), **result.row()}
        if has_emotions:
            emotion, times = next(iter(result.emotions.most_common(1)), (result.nothing, 0))
            row["most frequent"] = f"{emotion} ({times / result.predicted:.0%})" if result.predicted > 1 else emotion
            row["confidence"] = result.confidence[emotion] / times if times else None
        if has_affect:
            row |= {name: result.affect[name] / result.predicted if result.predicted else None for name in DIMENSIONS}
        if has_units:
            row["frequent units"] = " ".join(name for name, count in result.units.most_common(MAX_UNITS) if count)
        rows.append(row)
    return rows
