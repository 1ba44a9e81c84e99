"""Looks at all that was asked for and writes down what it sees; a file that cannot be read is noted, not fatal."""

import csv
import os
import re
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fervid.faces.cropping import flatness
from fervid.faces.face import most_prominent
from fervid.figures import save, timeline
from fervid.media.decoding import Frame, open_video, read_picture
from fervid.media.files import FAILED, LEFT_OUT
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.predictor import Predictor, SeenFace, is_nearly_square
from fervid.predict.records import RecordFiles, records
from fervid.predict.sources import Camera, Item
from fervid.predict.video import watch
from fervid.prepare.card import flat_faces
from fervid.schema.atomic import writing
from fervid.schema.errors import InputError, first_line
from fervid.schema.escaping import formula_guard

MOST_LINES = 20  # of the table on the terminal


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


def predict(
    predictor: Predictor,
    items: Sequence[Item],
    folder: Path,
    console: Console,
    *,
    every: int = 3,
    faces: Literal["all", "one"] = "all",
    smoothing: float = 0.0,
    annotated: bool = True,
    left_out: Sequence[tuple[str, str]] = (),
) -> list[Sight]:
    """Looks at every source and writes what it sees into a folder.

    Args:
        predictor: a trained run.
        items: the sources.
        folder: takes ``predictions.jsonl``, ``predictions.csv``, ``annotated/``, ``timelines/``, ``failures.csv``.
        console: where progress and warnings are shown.
        every: see :func:`fervid.predict.video.watch`, as ``faces`` and ``smoothing``.
        faces: of a picture too, ``all`` or the most prominent ``one``.
        smoothing: in seconds.
        annotated: whether ``annotated/`` is written.
        left_out: name and reason of files that are neither pictures nor videos, for ``failures.csv``.

    Returns:
        What was seen, in the order of the sources.

    Raises:
        OSError: if the folder cannot be written or the disk is full.
        KeyboardInterrupt: of the user; says what is there. A camera is left so without an error.
    """
    sights: list[Sight] = []
    names: set[str] = set()
    warned = False
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        _note(folder / "failures.csv", [(*entry, LEFT_OUT) for entry in left_out])
        rows = stack.enter_context(RecordFiles(folder, predictor.class_names))
        progress = stack.enter_context(_progress(console))
        whole = progress.add_task("sources", total=len(items), visible=len(items) > 1)
        for item in items:
            sight, place, name = Sight(item), rows.place, _free_name(item, names)
            sights.append(sight)
            bar = progress.add_task(name, total=_length(item), visible=item.is_video)
            began = time.perf_counter()
            try:
                with ExitStack() as open_file:
                    film = None
                    for frame, seen in _readable(
                        _look(predictor, item, every, faces, smoothing), sight, len(items) == 1
                    ):
                        if not warned and predictor.knows_cut_out_faces and not is_nearly_square(frame.image):
                            warned = True
                            progress.console.print(
                                f"{item.name}: the run was trained on faces that were cut out already. Here, and "
                                "wherever a picture is not nearly square, haar looks for them (detector=none: not)."
                            )
                        rows.write(records(item.name, frame, seen, predictor.class_names))
                        sight.add(frame, seen)
                        if annotated and item.is_video:
                            (folder / "annotated").mkdir(exist_ok=True)
                            film = film or open_file.enter_context(AnnotatedVideo(folder / f"annotated/{name}.mp4"))
                            film.write(frame, seen)
                        elif annotated:
                            _save(annotate(frame.image, seen), folder / "annotated", name, item)
                        progress.update(bar, completed=frame.time)
            except KeyboardInterrupt:
                if not isinstance(item.source, Camera):
                    raise KeyboardInterrupt(
                        f"interrupted at second {sight.seconds:.1f} of {item.name}, source {len(sights)} of "
                        f"{len(items)}: what was seen up to there lies in {folder}."
                    ) from None
            sight.spent = time.perf_counter() - began
            if item.is_video and sight.frames:
                (folder / "timelines").mkdir(exist_ok=True)
                figure = timeline(rows.since(place), predictor.class_names, sight.times, Path(item.name).name)
                save(figure, folder / f"timelines/{name}.png", dpi=120)
            if sight.failure:
                _note(folder / "failures.csv", [(item.name, sight.failure, FAILED)])
                progress.console.print(f"{item.name} fails: {sight.failure}")
            progress.remove_task(bar)
            progress.advance(whole)
    if items and not any(sight.frames for sight in sights):
        first = f"{sights[0].item.name}: {sights[0].failure}"
        raise InputError(f"none of {len(items)} sources can be read ({first}): see {folder / 'failures.csv'}.")
    return sights


def print_summary(sights: Sequence[Sight], folder: Path, console: Console) -> None:
    """A line a source on the terminal, then what failed, how fast it went and where everything lies."""
    table = Table(box=None, pad_edge=False)
    for column in ("source", "frames", "faces", "people", "most often", "confidence"):
        is_number = column in ("frames", "faces", "people", "confidence")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    read = [sight for sight in sights if sight.frames]
    folders = {str(Path(sight.item.name).parent) for sight in read}
    common = os.path.commonpath(folders) if len({name.startswith("/") for name in folders}) == 1 else "."
    for sight in read[:MOST_LINES]:
        faces = sight.emotions.total()
        emotion, times = next(iter(sight.emotions.most_common(1)), ("no face", 0))
        table.add_row(
            os.path.relpath(sight.item.name, common),
            str(sight.frames) if sight.item.is_video else "",
            str(faces),
            str(sight.people) if sight.item.is_video else "",
            f"{emotion} ({times / faces:.0%})" if faces and faces > 1 else emotion,
            f"{sight.confidence[emotion] / times:.0%}" if times else "",
        )
    console.print(table)
    if len(read) > MOST_LINES:
        console.print(f"and {len(read) - MOST_LINES} more sources")
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


def _look(
    predictor: Predictor, item: Item, every: int, faces: Literal["all", "one"], smoothing: float
) -> Iterator[tuple[Frame, list[SeenFace]]]:
    if item.is_video:
        yield from watch(predictor, item.source, every=every, faces=faces, smoothing=smoothing)
    else:
        assert not isinstance(item.source, Camera)
        image = read_picture(item.source)
        found = predictor.find(image)
        found = [most_prominent(found, image)] if found and faces == "one" else found
        yield Frame(0, 0.0, image), predictor.see(image, found)


def _readable(
    frames: Iterator[tuple[Frame, list[SeenFace]]], sight: Sight, alone: bool
) -> Generator[tuple[Frame, list[SeenFace]]]:
    """Hands on what can be read; what cannot is noted. Errors of writing, outside of this, are not caught."""
    try:
        yield from frames
    except InputError:  # a camera that is not there
        if alone:
            raise
        sight.failure = "no such camera, or it gives no picture"
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        sight.failure = getattr(error, "strerror", None) or first_line(error)
        if sight.frames:
            sight.failure += f" (after {sight.frames} frames, which are kept)"


def _free_name(item: Item, names: set[str]) -> str:
    """A file name for a source, without ending, that no other source has."""
    stem = re.sub(r"[^\w.()+ -]", "_", Path(item.name).stem)[:60].strip() or "source"
    name, number = stem, 1
    while name.lower() in names:
        number += 1
        name = f"{stem}_{number}"
    names.add(name.lower())
    return name


def _save(image: np.ndarray, folder: Path, name: str, item: Item) -> None:
    folder.mkdir(exist_ok=True)
    ending = "png" if item.name.lower().endswith(".png") else "jpg"
    with writing(folder / f"{name}.{ending}") as partial:
        Image.fromarray(image).save(partial, quality=92)


def _note(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    if rows:
        header = [] if path.exists() else [("source", "reason", "outcome")]
        with open(path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(header + [tuple(map(formula_guard, row)) for row in rows])


def _length(item: Item) -> float | None:
    """Seconds of a video, as its file says; None where it does not: for the progress bar alone."""
    if not item.is_video or not isinstance(item.source, Path):
        return item.source.seconds if isinstance(item.source, Camera) else None
    try:
        with open_video(item.source) as container:
            return container.duration and container.duration / av.time_base
    except (av.FFmpegError, OSError, ValueError):
        return None


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
