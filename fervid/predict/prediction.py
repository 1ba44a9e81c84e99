"""Predicts all sources and writes the output folder; a file that cannot be read is recorded and skipped."""

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
from fervid.predict.predictor import FacePrediction, Predictor, is_nearly_square
from fervid.predict.source_results import SourceResult
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
) -> list[SourceResult]:
    """Predicts all sources and writes the results to a folder.

    Args:
        predictor: a trained run.
        items: the sources.
        folder: output folder for ``faces.jsonl``, ``faces.csv``, ``annotated/``, ``timelines/``, ``failures.csv``.
        console: console for progress and warnings.
        frame_stride: of a video, every ``frame_stride``-th frame is used; see :func:`fervid.predict.video.watch`.
        faces: ``all`` faces, or only the most prominent ``one``; for pictures and videos.
        smoothing: time constant of the moving average in seconds; see :func:`fervid.predict.video.watch`.
        annotated: whether to write ``annotated/``.
        left_out: name and reason for each file that is neither a picture nor a video, for ``failures.csv``.

    Returns:
        One result per source, in the order of the sources.

    Raises:
        InputError: if none of the sources can be read.
        OSError: if the folder cannot be written or the disk is full.
        KeyboardInterrupt: if the user presses Ctrl-C; its message says what has been written. For a camera, Ctrl-C
            ends the recording without an error.
    """
    results: list[SourceResult] = []
    names: set[str] = set()
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        _note(folder / "failures.csv", [(*entry, LEFT_OUT) for entry in left_out])
        rows = stack.enter_context(RecordFiles(folder, predictor.class_names))
        progress = stack.enter_context(_progress(console))
        warning = _CroppedFacesWarning(predictor, progress.console)
        all_sources = progress.add_task("sources", total=len(items), visible=len(items) > 1)
        for item in items:
            result, output = SourceResult(item), _SourceFiles(folder, rows, item, _free_name(item, names), annotated)
            results.append(result)
            bar = progress.add_task(output.name, total=_length(item), visible=item.is_video)
            began = time.perf_counter()
            try:
                with output:
                    frames = _predict_item(predictor, item, frame_stride, faces, smoothing)
                    for frame, predicted in _readable(frames, result, is_only_source=len(items) == 1):
                        warning.check(item, frame)
                        result.add(frame, predicted)  # before writing, so that the summary counts an interrupted frame
                        output.write(frame, predicted)
                        progress.update(bar, completed=frame.time)
            except KeyboardInterrupt:
                if not isinstance(item.source, Camera):
                    raise KeyboardInterrupt(
                        f"interrupted at second {result.seconds:.1f} of {item.name}, source {len(results)} of "
                        f"{len(items)}. The results up to that point are in {folder}."
                    ) from None
            result.spent = time.perf_counter() - began
            output.draw_timeline(result.times)
            if result.failure:
                _note(folder / "failures.csv", [(item.name, result.failure, FAILED)])
                progress.console.print(f"{item.name} failed: {result.failure}")
            progress.remove_task(bar)
            progress.advance(all_sources)
    if items and not any(result.frames for result in results):
        first = f"{results[0].item.name}: {results[0].failure}"
        raise InputError(f"none of the {len(items)} sources can be read ({first}): see {folder / 'failures.csv'}.")
    return results


class _SourceFiles:
    """Context manager that writes the files of one source: face rows, annotated picture or video, timeline.

    However the ``with`` block ends, the annotated video is closed.
    """

    def __init__(self, folder: Path, rows: RecordFiles, item: Item, name: str, annotated: bool):
        self.name = name
        self._folder, self._rows, self._item, self._annotated = folder, rows, item, annotated
        self._first_row = rows.position
        self._video: AnnotatedVideo | None = None
        self._open = ExitStack()

    def __enter__(self) -> "_SourceFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, frame: Frame, predicted: Sequence[FacePrediction]) -> None:
        """Writes a frame."""
        self._rows.write(records(self._item.name, frame, predicted, self._rows.class_names))
        if not self._annotated:
            return
        folder = self._folder / "annotated"
        folder.mkdir(exist_ok=True)
        if self._item.is_video:
            if self._video is None:
                self._video = self._open.enter_context(AnnotatedVideo(folder / f"{self.name}.mp4"))
            self._video.write(frame, predicted)
        else:
            ending = "png" if self._item.name.lower().endswith(".png") else "jpg"
            with writing(folder / f"{self.name}.{ending}") as partial:
                Image.fromarray(annotate(frame.image, predicted)).save(partial, quality=92)

    def draw_timeline(self, times: Sequence[float]) -> None:
        """Draws the emotions of a video over the times of its processed frames (seconds)."""
        if not self._item.is_video or not times:
            return
        (self._folder / "timelines").mkdir(exist_ok=True)
        title = Path(self._item.name).name
        figure = timeline(self._rows.rows_from(self._first_row), self._rows.class_names, times, title)
        save(figure, self._folder / f"timelines/{self.name}.png", dpi=120)


class _CroppedFacesWarning:
    """Warns once if a run that was trained on already cropped faces receives a picture that is not a face crop."""

    def __init__(self, predictor: Predictor, console: Console):
        self._predictor, self._console = predictor, console
        self._printed = False

    def check(self, item: Item, frame: Frame) -> None:
        if self._printed or not self._predictor.trained_on_crops or is_nearly_square(frame.image):
            return
        self._printed = True
        self._console.print(
            f"{item.name}: the run was trained on pictures of already cropped faces. In pictures that are not nearly "
            "square, such as this one, the Haar detector finds the faces (to switch it off: detector=none)."
        )


def _predict_item(
    predictor: Predictor, item: Item, frame_stride: int, faces: Literal["all", "one"], smoothing: float
) -> Iterator[tuple[Frame, list[FacePrediction]]]:
    if item.is_video:
        yield from watch(predictor, item.source, frame_stride=frame_stride, faces=faces, smoothing=smoothing)
    else:
        assert not isinstance(item.source, Camera)
        image = read_picture(item.source)
        found = predictor.find(image)
        found = [most_prominent(found, image)] if found and faces == "one" else found
        yield Frame(0, 0.0, image), predictor.predict_faces(image, found)


def _readable(
    frames: Iterator[tuple[Frame, list[FacePrediction]]], result: SourceResult, *, is_only_source: bool
) -> Generator[tuple[Frame, list[FacePrediction]]]:
    """Yields the frames that can be read and records a failure in ``result``; errors in writing are not caught here."""
    try:
        yield from frames
    except InputError:  # a missing camera
        if is_only_source:
            raise
        result.failure = "no such camera, or it delivers no picture"
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        result.failure = getattr(error, "strerror", None) or first_line(error)
        if result.frames:
            result.failure += f" (after {result.frames} frames, which are kept)"


def _free_name(item: Item, names: set[str]) -> str:
    """Returns a unique file name for a source, without suffix."""
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
    """Length of a video in seconds from its header, None if unknown; used only for the progress bar."""
    if not item.is_video or not isinstance(item.source, Path):
        return item.source.seconds if isinstance(item.source, Camera) else None
    try:
        with open_video(item.source) as container:
            return container.duration and container.duration / av.time_base
    except (av.FFmpegError, OSError, ValueError):
        return None


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
