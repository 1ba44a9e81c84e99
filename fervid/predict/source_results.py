"""Counts the predictions for each source and prints their summary."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from fervid.faces.clip_faces import flatness
from fervid.media.decoding import Frame
from fervid.predict.inputs import Camera, Item
from fervid.predict.predictor import FacePrediction
from fervid.prepare.card import flat_faces
from fervid.schema.tables import Table


@dataclass
class SourceResult:
    """The predictions for one source, counted.

    Attributes:
        item: the source.
        times: times of the processed frames in seconds.
        spent: processing time in seconds.
        emotions: number of faces for which each emotion was the most likely.
        confidence: sum of the confidences for each of these emotions.
        persons: number of frames in which each person was found.
        flat: number of blank faces by kind: black, white or constant.
        failure: why the source could not be read to its end; None if it could.
    """

    item: Item
    times: list[float] = field(default_factory=list)
    spent: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)
    confidence: dict[str, float] = field(default_factory=dict)
    persons: Counter[int | None] = field(default_factory=Counter)
    flat: Counter[str] = field(default_factory=Counter)
    failure: str | None = None

    @property
    def frames(self) -> int:
        """Number of processed frames."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Length of the video up to the last processed frame; 0 for a picture."""
        return self.times[-1] if self.times else 0.0

    @property
    def num_persons(self) -> int:
        """Number of persons found in at least two frames; a face found only once is often a false detection."""
        return sum(1 for frames in self.persons.values() if frames >= min(2, self.frames))

    def add(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        """Adds the predictions for a frame."""
        self.times.append(frame.time)
        for face in faces:
            self.emotions[face.emotion] += 1
            self.confidence[face.emotion] = self.confidence.get(face.emotion, 0.0) + face.confidence
            self.persons[face.person] += 1
            self.flat.update([flat] if (flat := flatness(face.picture)) else [])


def print_summary(results: Sequence[SourceResult], folder: Path, console: Console) -> None:
    """Prints one row per source, then the failures, the speed and the output folder."""
    read = [result for result in results if result.frames]
    if read:
        Table("sources", "Predictions", pd.DataFrame(_rows(read)), {"confidence": "{:.0%}"}).print(console)
    without = sum(1 for result in read if not result.emotions)
    if without:
        console.print(f"no face found in {without} of {len(read)} sources")
    if flat := sum((result.flat for result in read), Counter[str]()):
        first = next(result.item.name for result in read if result.flat)
        console.print(f"{flat_faces(flat)} The first is in {first}.")
    failed = sum(1 for result in results if result.failure)
    if failed:
        console.print(f"{failed} of {len(results)} sources failed: see failures.csv")
    frames, spent = sum(result.frames for result in read), sum(result.spent for result in read)
    videos = [result for result in read if result.item.is_video and not isinstance(result.item.source, Camera)]
    speed = f"{frames} pictures and frames in {spent:.1f} s, {frames / max(spent, 1e-9):.1f} per second"
    if videos:
        factor = sum(video.seconds for video in videos) / max(sum(video.spent for video in videos), 1e-9)
        speed += f"; videos at {factor:.1f} times real time"
    console.print(speed)
    console.print(f"Output: {folder}")


def _rows(results: Sequence[SourceResult]) -> list[dict[str, Any]]:
    """Returns one row per source; names are relative to the folder that all sources share."""
    folders = {str(Path(result.item.name).parent) for result in results}
    common = os.path.commonpath(folders) if len({name.startswith("/") for name in folders}) == 1 else "."
    rows = []
    for result in results:
        faces = result.emotions.total()
        emotion, times = next(iter(result.emotions.most_common(1)), ("no face", 0))
        rows.append(
            {
                "source": os.path.relpath(result.item.name, common),
                "frames": result.frames if result.item.is_video else None,
                "faces": faces,
                "persons": result.num_persons if result.item.is_video else None,
                "most frequent": f"{emotion} ({times / faces:.0%})" if faces > 1 else emotion,
                "confidence": result.confidence[emotion] / times if times else None,
            }
        )
    return rows
