"""What was seen in each source, and what the terminal says of it."""

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
from fervid.predict.predictor import SeenFace
from fervid.prepare.card import flat_faces
from fervid.schema.tables import Table


@dataclass
class Sight:
    """What was seen in one source.

    Attributes:
        item: the source.
        times: seconds of the frames that were looked at.
        spent: seconds that looking at it took.
        emotions: how often each was the likeliest.
        confidence: their confidences, summed.
        persons: in how many frames each person was seen.
        flat: faces that show nothing, by what they are: black, white or constant.
        failure: why it could not be read, or not to its end; None if it could.
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
        """How many were looked at."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Of the video that the frames span; 0 of a picture."""
        return self.times[-1] if self.times else 0.0

    @property
    def people(self) -> int:
        """Persons that were seen in more than a single frame of several: what is seen once is often nobody."""
        return sum(1 for frames in self.persons.values() if frames >= min(2, self.frames))

    def add(self, frame: Frame, faces: Sequence[SeenFace]) -> None:
        """Counts a frame."""
        self.times.append(frame.time)
        for face in faces:
            self.emotions[face.emotion] += 1
            self.confidence[face.emotion] = self.confidence.get(face.emotion, 0.0) + face.confidence
            self.persons[face.person] += 1
            self.flat.update([flat] if (flat := flatness(face.picture)) else [])


def print_summary(sights: Sequence[Sight], folder: Path, console: Console) -> None:
    """A line a source on the terminal, then what failed, how fast it went and where everything lies."""
    read = [sight for sight in sights if sight.frames]
    if read:
        Table("sources", "what was seen", pd.DataFrame(_rows(read)), {"confidence": "{:.0%}"}).print(console)
    without = sum(1 for sight in read if not sight.emotions)
    if without:
        console.print(f"no face in {without} of {len(read)} sources")
    if flat := sum((sight.flat for sight in read), Counter[str]()):
        first = next(sight.item.name for sight in read if sight.flat)
        console.print(f"{flat_faces(flat)} The first is in {first}.")
    failed = sum(1 for sight in sights if sight.failure)
    if failed:
        console.print(f"{failed} of {len(sights)} sources fail: see failures.csv")
    frames, spent = sum(sight.frames for sight in read), sum(sight.spent for sight in read)
    films = [sight for sight in read if sight.item.is_video and not isinstance(sight.item.source, Camera)]
    speed = f"{frames} pictures and frames in {spent:.1f} s, {frames / max(spent, 1e-9):.1f} a second"
    if films:
        factor = sum(film.seconds for film in films) / max(sum(film.spent for film in films), 1e-9)
        speed += f"; videos at {factor:.1f} times real time"
    console.print(speed)
    console.print(f"everything lies in {folder}")


def _rows(sights: Sequence[Sight]) -> list[dict[str, Any]]:
    """One row a source; names without the folders that all share."""
    folders = {str(Path(sight.item.name).parent) for sight in sights}
    common = os.path.commonpath(folders) if len({name.startswith("/") for name in folders}) == 1 else "."
    rows = []
    for sight in sights:
        faces = sight.emotions.total()
        emotion, times = next(iter(sight.emotions.most_common(1)), ("no face", 0))
        rows.append(
            {
                "source": os.path.relpath(sight.item.name, common),
                "frames": sight.frames if sight.item.is_video else None,
                "faces": faces,
                "people": sight.people if sight.item.is_video else None,
                "most often": f"{emotion} ({times / faces:.0%})" if faces > 1 else emotion,
                "confidence": sight.confidence[emotion] / times if times else None,
            }
        )
    return rows
