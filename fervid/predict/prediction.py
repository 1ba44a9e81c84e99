"""Looks at all that was asked for and writes down what it sees; a file that cannot be read is noted, not fatal."""

import csv
import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import cv2
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fervid.errors import InputError, first_line
from fervid.faces.face import most_prominent
from fervid.figures import save, timeline
from fervid.media.decoding import Frame, open_video, read_picture
from fervid.media.files import FAILED, LEFT_OUT
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.face_tables import RecordFiles, records
from fervid.predict.inputs import Camera, Item
from fervid.predict.predictor import Predictor, SeenFace, is_nearly_square
from fervid.predict.sights import Sight
from fervid.predict.video import watch
from fervid.storage.atomic import writing
from fervid.storage.escaping import formula_guard


def predict(
    predictor: Predictor,
    items: Sequence[Item],
    folder: Path,
    console: Console,
    *,
    frame_stride: int = 3,
    faces: Literal["all", "one"] = "all",
    smoothing: float = 0.0,
    annotated: bool = True,
    left_out: Sequence[tuple[str, str]] = (),
) -> list[Sight]:
    """Looks at every source and writes what it sees into a folder.

    Args:
        predictor: a trained run.
        items: the sources.
        folder: takes ``faces.jsonl``, ``faces.csv``, ``annotated/``, ``timelines/``, ``failures.csv``.
        console: where progress and warnings are shown.
        frame_stride: see :func:`fervid.predict.video.watch`, as ``faces`` and ``smoothing``.
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
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        _note(folder / "failures.csv", [(*entry, LEFT_OUT) for entry in left_out])
        rows = stack.enter_context(RecordFiles(folder, predictor.class_names))
        progress = stack.enter_context(_progress(console))
        warn = _WarningOnce(predictor, progress.console)
        whole = progress.add_task("sources", total=len(items), visible=len(items) > 1)
        for item in items:
            sight, output = Sight(item), _SourceFiles(folder, rows, item, _free_name(item, names), annotated)
            sights.append(sight)
            bar = progress.add_task(output.name, total=_length(item), visible=item.is_video)
            began = time.perf_counter()
            try:
                with output:
                    looked_at = _look(predictor, item, frame_stride, faces, smoothing)
                    for frame, seen in _readable(looked_at, sight, alone=len(items) == 1):
                        warn.of(item, frame)
                        sight.add(frame, seen)  # first: what was seen up to an interruption is told
                        output.write(frame, seen)
                        progress.update(bar, completed=frame.time)
            except KeyboardInterrupt:
                if not isinstance(item.source, Camera):
                    raise KeyboardInterrupt(
                        f"interrupted at second {sight.seconds:.1f} of {item.name}, source {len(sights)} of "
                        f"{len(items)}: what was seen up to there lies in {folder}."
                    ) from None
            sight.spent = time.perf_counter() - began
            output.draw_timeline(sight.times)
            if sight.failure:
                _note(folder / "failures.csv", [(item.name, sight.failure, FAILED)])
                progress.console.print(f"{item.name} fails: {sight.failure}")
            progress.remove_task(bar)
            progress.advance(whole)
    if items and not any(sight.frames for sight in sights):
        first = f"{sights[0].item.name}: {sights[0].failure}"
        raise InputError(f"none of {len(items)} sources can be read ({first}): see {folder / 'failures.csv'}.")
    return sights


class _SourceFiles:
    """What is written of one source: rows of faces, annotated pictures or a video, a timeline.

    To be used in a ``with``, whose end, whatever it is, closes the annotated video.
    """

    def __init__(self, folder: Path, rows: RecordFiles, item: Item, name: str, annotated: bool):
        self.name = name
        self._folder, self._rows, self._item, self._annotated = folder, rows, item, annotated
        self._place = rows.place
        self._video: AnnotatedVideo | None = None
        self._open = ExitStack()

    def __enter__(self) -> "_SourceFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, frame: Frame, seen: Sequence[SeenFace]) -> None:
        """Adds a frame."""
        self._rows.write(records(self._item.name, frame, seen, self._rows.class_names))
        if not self._annotated:
            return
        folder = self._folder / "annotated"
        folder.mkdir(exist_ok=True)
        if self._item.is_video:
            if self._video is None:
                self._video = self._open.enter_context(AnnotatedVideo(folder / f"{self.name}.mp4"))
            self._video.write(frame, seen)
        else:
            ending = "png" if self._item.name.lower().endswith(".png") else "jpg"
            with writing(folder / f"{self.name}.{ending}") as partial:
                Image.fromarray(annotate(frame.image, seen)).save(partial, quality=92)

    def draw_timeline(self, times: Sequence[float]) -> None:
        """Draws the emotions of a video of which frames were looked at, at these seconds."""
        if not self._item.is_video or not times:
            return
        (self._folder / "timelines").mkdir(exist_ok=True)
        title = Path(self._item.name).name
        figure = timeline(self._rows.since(self._place), self._rows.class_names, times, title)
        save(figure, self._folder / f"timelines/{self.name}.png", dpi=120)


class _WarningOnce:
    """Says once that a run of faces that were cut out already is shown other pictures."""

    def __init__(self, predictor: Predictor, console: Console):
        self._predictor, self._console = predictor, console
        self._said = False

    def of(self, item: Item, frame: Frame) -> None:
        if self._said or not self._predictor.knows_cut_out_faces or is_nearly_square(frame.image):
            return
        self._said = True
        self._console.print(
            f"{item.name}: the run was trained on faces that were cut out already. Here, and "
            "wherever a picture is not nearly square, haar looks for them (detector=none: not)."
        )


def _look(
    predictor: Predictor, item: Item, frame_stride: int, faces: Literal["all", "one"], smoothing: float
) -> Iterator[tuple[Frame, list[SeenFace]]]:
    if item.is_video:
        yield from watch(predictor, item.source, frame_stride=frame_stride, faces=faces, smoothing=smoothing)
    else:
        assert not isinstance(item.source, Camera)
        image = read_picture(item.source)
        found = predictor.find(image)
        found = [most_prominent(found, image)] if found and faces == "one" else found
        yield Frame(0, 0.0, image), predictor.see(image, found)


def _readable(
    frames: Iterator[tuple[Frame, list[SeenFace]]], sight: Sight, *, alone: bool
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
