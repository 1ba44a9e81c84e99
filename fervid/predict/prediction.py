"""Predicts the faces of all sources and writes the output folder."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from PIL import Image
from rich.console import Console

from fervid.faces.face import most_prominent
from fervid.figures import save, timeline
from fervid.media.decoding import Frame, read_picture
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.answers import Answers
from fervid.predict.face_tables import FACES, face_columns, records
from fervid.predict.inputs import Camera, Item
from fervid.predict.predictor import FacePrediction, Predictor
from fervid.predict.record_files import RecordFiles
from fervid.predict.run_predictor import is_nearly_square
from fervid.predict.source_loop import predict_sources, readable
from fervid.predict.source_results import SourceResult
from fervid.predict.video import watch
from fervid.schema.parts import Part
from fervid.storage.atomic import writing

FRAME_STRIDE = 3  # of a video, every third frame is used by default


def predict(
    predictor: Predictor,
    items: Sequence[Item],
    folder: Path,
    console: Console,
    *,
    frame_stride: int = FRAME_STRIDE,
    faces: Literal["all", "one"] = "all",
    smoothing: float = 0.0,
    answers: Answers | None = None,
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
        answers: calibrated answers of the run; None: the most probable emotion. With ``smoothing``, their threshold is
            compared with the confidence of the average.
        annotated: whether to write ``annotated/``.
        left_out: see :func:`fervid.predict.source_loop.predict_sources`, also for the result and errors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    warning = _CroppedFacesWarning(predictor)
    columns = [*face_columns(predictor.parts), *(answers.columns if answers else ())]
    with RecordFiles(folder, FACES, columns) as rows:

        def start(item: Item, name: str, console: Console) -> _FrameJob:
            frames = _predict_item(predictor, item, frame_stride, faces, smoothing)
            if answers is not None:
                frames = _answered(frames, answers)
            files = _SourceFiles(folder, rows, item, name, predictor.parts, annotated)
            return _FrameJob(item, frames, files, warning, console, is_only_source=len(items) == 1)

        return predict_sources(start, items, folder, console, left_out)


class _FrameJob:
    """Predicts the frames of one source; see :class:`fervid.predict.source_loop.SourceJob`."""

    def __init__(
        self,
        item: Item,
        frames: Iterator[tuple[Frame, list[FacePrediction]]],
        files: "_SourceFiles",
        warning: "_CroppedFacesWarning",
        console: Console,
        *,
        is_only_source: bool,
    ):
        self.result = SourceResult(item)
        self._frames = readable(frames, self.result, is_only_source=is_only_source)
        self._files, self._warning, self._console = files, warning, console

    def run(self) -> Generator[float]:
        with self._files:
            for frame, predicted in self._frames:
                self._warning.check(self.result.item, frame, self._console)
                self.result.add(frame, predicted)  # before writing, so that the summary counts an interrupted frame
                self._files.write(frame, predicted)
                yield frame.time

    def finish(self) -> None:
        self._files.draw_timeline(self.result.times)


class _SourceFiles:
    """Context manager that writes the files of one source: face rows, annotated picture or video, timeline.

    However the ``with`` block ends, the annotated video is closed.
    """

    def __init__(self, folder: Path, rows: RecordFiles, item: Item, name: str, parts: Sequence[Part], annotated: bool):
        self._folder, self._rows, self._item, self._name = folder, rows, item, name
        self._parts, self._annotated = parts, annotated
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
        self._rows.write(records(self._item.name, frame, predicted, self._parts))
        if not self._annotated:
            return
        folder = self._folder / "annotated"
        folder.mkdir(exist_ok=True)
        if self._item.is_video:
            if self._video is None:
                self._video = self._open.enter_context(AnnotatedVideo(folder / f"{self._name}.mp4"))
            self._video.write(frame, predicted)
        else:
            ending = "png" if self._item.name.lower().endswith(".png") else "jpg"
            with writing(folder / f"{self._name}.{ending}") as partial:
                Image.fromarray(annotate(frame.image, predicted)).save(partial, quality=92)

    def draw_timeline(self, times: Sequence[float]) -> None:
        """Draws the predictions for a video over the times of its processed frames (seconds)."""
        if not self._item.is_video or not times:
            return
        (self._folder / "timelines").mkdir(exist_ok=True)
        title = Path(self._item.name).name
        figure = timeline(self._rows.rows_from(self._first_row), self._parts, times, title)
        save(figure, self._folder / f"timelines/{self._name}.png", dpi=120)


class _CroppedFacesWarning:
    """Warns once if a run that was trained on already cropped faces receives a picture that is not a face crop."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self._printed = False

    def check(self, item: Item, frame: Frame, console: Console) -> None:
        if self._printed or not self._predictor.trained_on_crops or is_nearly_square(frame.image):
            return
        self._printed = True
        console.print(
            f"{item.name}: the run was trained on pictures of already cropped faces. In pictures that are not nearly "
            "square, such as this one, the Haar detector finds the faces (to switch it off: detector=none)."
        )


def _answered(
    frames: Iterator[tuple[Frame, list[FacePrediction]]], answers: Answers
) -> Iterator[tuple[Frame, list[FacePrediction]]]:
    for frame, predicted in frames:
        yield frame, [replace(face, answer=answers.of(face.probabilities)) for face in predicted]


def _predict_item(
    predictor: Predictor, item: Item, frame_stride: int, faces: Literal["all", "one"], smoothing: float
) -> Iterator[tuple[Frame, list[FacePrediction]]]:
    if item.is_video:
        yield from watch(predictor, item.source, frame_stride=frame_stride, faces=faces, smoothing=smoothing)
    else:
        assert not isinstance(item.source, Camera)
        image = read_picture(item.source)
        found = predictor.find_in_picture(image)
        found = [most_prominent(found, image)] if found and faces == "one" else found
        yield Frame(0, 0.0, image), predictor.predict_faces(image, found)
