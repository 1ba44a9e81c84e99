"""Predicts the windows of all sources and writes the output folder."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console

from fervid.figures import save, window_timeline
from fervid.predict.answers import Answers
from fervid.predict.inputs import Camera, Item
from fervid.predict.record_files import RecordFiles
from fervid.predict.recording import Recording
from fervid.predict.source_loop import predict_sources, readable
from fervid.predict.source_results import SourceResult, WindowResult
from fervid.predict.window_annotation import annotate_windows
from fervid.predict.window_predictor import WindowPredictor
from fervid.predict.window_tables import WINDOWS, window_columns, window_records
from fervid.predict.windows import WindowPrediction

STEP_SECONDS = 0.5  # from a window to the next by default


def predict_windows(
    predictor: WindowPredictor,
    items: Sequence[Item],
    folder: Path,
    console: Console,
    *,
    seconds: float | None = None,
    step: float = STEP_SECONDS,
    faces: Literal["all", "one"] = "all",
    answers: Answers | None = None,
    annotated: bool = True,
    left_out: Sequence[tuple[str, str]] = (),
) -> list[SourceResult]:
    """Predicts the windows of all sources and writes the results to a folder.

    Args:
        predictor: a trained run.
        items: videos and sound files.
        folder: output folder for ``windows.jsonl``, ``windows.csv``, ``annotated/``, ``timelines/``, ``failures.csv``.
        console: console for progress and warnings.
        seconds: length of a window; see :class:`fervid.predict.recording.Recording`, also for ``step`` and ``faces``.
        step: time from a window to the next in seconds.
        faces: ``all`` people, or only the most prominent ``one``.
        answers: calibrated answers of the run; None: the most probable emotion.
        annotated: whether to write ``annotated/``, for videos with faces.
        left_out: see :func:`fervid.predict.source_loop.predict_sources`, also for the result and errors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds = predictor.window_seconds(seconds)
    console.print(f"windows of {seconds:g} s every {step:g} s")
    if predictor.missing:
        console.print(
            f"{' and '.join(predictor.missing)}: missing, since they cannot be computed from a video or a sound file; "
            f"the network answers from {' and '.join(predictor.modalities)} alone"
        )
    columns = window_columns(predictor.class_names, predictor.answers_alone) + (answers.columns if answers else [])
    open_recording = partial(Recording, predictor, seconds=seconds, step=step, faces=faces)
    with RecordFiles(folder, WINDOWS, columns) as rows:

        def start(item: Item, name: str, _: Console) -> _WindowJob:
            files = _Files(folder, name, rows, annotated)
            return _WindowJob(predictor, item, files, open_recording, answers, is_only_source=len(items) == 1)

        return predict_sources(start, items, folder, console, left_out)


class _Files(NamedTuple):
    """Where the predictions of a source are written: folder, name without suffix, rows, and whether a video is."""

    folder: Path
    name: str
    rows: RecordFiles
    annotated: bool


class _WindowJob:
    """Predicts the windows of one source; see :class:`fervid.predict.source_loop.SourceJob`."""

    def __init__(
        self,
        predictor: WindowPredictor,
        item: Item,
        files: _Files,
        open_recording: Callable[..., Recording],
        answers: Answers | None,
        *,
        is_only_source: bool,
    ):
        self.result: WindowResult = WindowResult(item)
        self._predictor, self._files, self._open_recording = predictor, files, open_recording
        self._is_only_source, self._answers = is_only_source, answers
        self._first_row = files.rows.position
        self._predictions: list[WindowPrediction] = []  # for the annotated video

    def run(self) -> Generator[float]:
        item, source = self.result.item, self.result.item.source
        assert not isinstance(source, Camera)
        recording = self._open_recording(source, has_pictures=item.is_video)
        names, alone = self._predictor.class_names, self._predictor.answers_alone
        for window, predictions in readable(iter(recording), self.result, is_only_source=self._is_only_source):
            if self._answers is not None:
                predictions = [replace(each, answer=self._answers.of(each.probabilities)) for each in predictions]
            self.result.add_window(window, predictions)
            self._files.rows.write(window_records(item.name, predictions, names, alone))
            self._predictions += [each for each in predictions if each.person is not None]
            yield window.start
        if self._files.annotated and self._predictions and recording.faces:
            path = self._files.folder / "annotated" / f"{self._files.name}.mp4"
            path.parent.mkdir(exist_ok=True)
            until, has_sound = self.result.seconds, recording.has_sound
            yield from annotate_windows(source, path, recording.faces, self._predictions, until, has_sound=has_sound)

    def finish(self) -> None:
        if not self.result.answered:
            return
        folder = self._files.folder / "timelines"
        folder.mkdir(exist_ok=True)
        table = self._files.rows.rows_from(self._first_row)
        title = Path(self.result.item.name).name
        figure = window_timeline(table, self._predictor.class_names, self._predictor.answers_alone, title)
        save(figure, folder / f"{self._files.name}.png", dpi=120)
