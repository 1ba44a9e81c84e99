"""Predicts sources one after the other; a file that cannot be read is recorded and skipped."""

import csv
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol, TypeVar

import av
import cv2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fervid.errors import InputError, first_line
from fervid.media.decoding import open_container
from fervid.media.files import FAILED, LEFT_OUT
from fervid.media.formats import SOUND_FORMATS
from fervid.predict.inputs import Camera, Item
from fervid.predict.source_results import SourceResult
from fervid.storage.escaping import formula_guard

T = TypeVar("T")


class SourceJob(Protocol):
    """The prediction of one source.

    Attributes:
        result: what has been predicted so far.
    """

    @property
    def result(self) -> SourceResult: ...

    def run(self) -> Generator[float]:
        """Predicts the source and writes its files; yields the seconds of the source that are finished."""
        ...

    def finish(self) -> None:
        """Draws what needs the whole source, also if :meth:`run` was interrupted in a camera stream."""
        ...


Start = Callable[[Item, str, Console], SourceJob]
"""Starts the prediction of a source, given the name of its files without suffix, and a console for warnings."""


def predict_sources(
    start: Start, items: Sequence[Item], folder: Path, console: Console, left_out: Sequence[tuple[str, str]] = ()
) -> list[SourceResult]:
    """Predicts all sources and records those that cannot be read in ``failures.csv``.

    Args:
        start: starts the prediction of one source.
        items: the sources.
        folder: output folder, which exists.
        console: console for progress and warnings.
        left_out: name and reason for each file that is of another kind, for ``failures.csv``.

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
    _note(folder / "failures.csv", [(*entry, LEFT_OUT) for entry in left_out])
    with _progress(console) as progress:
        all_sources = progress.add_task("sources", total=len(items), visible=len(items) > 1)
        for item in items:
            name = _free_name(item, names)
            job = start(item, name, progress.console)
            result = job.result
            results.append(result)
            bar = progress.add_task(name, total=_length(item), visible=item.has_length)
            began = time.perf_counter()
            try:
                with closing(job.run()) as steps:
                    for seconds in steps:
                        progress.update(bar, completed=seconds)
            except KeyboardInterrupt:
                if not isinstance(item.source, Camera):
                    raise KeyboardInterrupt(
                        f"interrupted at second {result.seconds:.1f} of {item.name}, source {len(results)} of "
                        f"{len(items)}. The results up to that point are in {folder}."
                    ) from None
            result.spent = time.perf_counter() - began
            job.finish()
            if result.failure:
                _note(folder / "failures.csv", [(item.name, result.failure, FAILED)])
                progress.console.print(f"{item.name} failed: {result.failure}")
            progress.remove_task(bar)
            progress.advance(all_sources)
    if items and not any(result.steps for result in results):
        first = f"{results[0].item.name}: {results[0].failure}"
        raise InputError(f"none of the {len(items)} sources can be read ({first}): see {folder / 'failures.csv'}.")
    return results


def readable(steps: Iterator[T], result: SourceResult, *, is_only_source: bool) -> Iterator[T]:
    """Yields the steps that can be read and records a failure in ``result``; errors in writing are not caught here."""
    try:
        yield from steps
    except InputError as error:
        if is_only_source:
            raise
        is_camera = isinstance(result.item.source, Camera)
        result.failure = "no such camera, or it delivers no picture" if is_camera else first_line(error)
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        result.failure = getattr(error, "strerror", None) or first_line(error)
        if result.steps:
            result.failure += f" (after {result.steps} {result.unit}, which are kept)"


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
    """Length of a source in seconds from its header, None if unknown; used only for the progress bar."""
    if not item.has_length or not isinstance(item.source, Path):
        return item.source.seconds if isinstance(item.source, Camera) else None
    try:
        with open_container(item.source, SOUND_FORMATS, "video or sound file") as container:
            return container.duration and container.duration / av.time_base
    except (av.FFmpegError, OSError, ValueError):
        return None


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
