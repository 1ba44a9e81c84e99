"""Extracts face crops of one size from the videos and pictures of a corpus: decode, detect, align, crop.

A prepared folder contains:

==================  ==================================================================================================
``faces/``          one JPEG per face, in one folder per emotion
``manifest.parquet``  one row per examined frame, with or without a face; written last, so it marks completion
``failures.csv``    files that could not be used: ``path``, ``reason`` and ``outcome`` (``failed`` if there is no usable
                    face, ``left out`` if the file is not part of the corpus)
``card.json``       source, settings, counts, mean and std, detection rate, versions, licence; readable as ``card.md``
``contact_sheet.png``  some faces of each emotion
==================  ==================================================================================================

Workers only compute; a single process writes. It adds a clip to a journal once all faces of the clip are written, so a
preparation that is killed at any time resumes and produces the same bytes. Several processes, on one or more machines,
can each prepare a part of the clips. Every part has its own journal, and :func:`join` reads all of them.
"""

import json
import re
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from fervid.errors import InputError
from fervid.faces.clip_faces import ClipTask, Crop, crop_faces
from fervid.faces.cropping import Alignment
from fervid.faces.detection import Detector
from fervid.media.files import FAILED
from fervid.processes.lifetime import for_workers
from fervid.schema.columns import Role, columns_of
from fervid.storage.atomic import truncate_partial_line, write_csv
from fervid.storage.escaping import spreadsheet

JOURNAL = "progress.jsonl"
JOURNALS = "progress*.jsonl"  # including those of parts
FRAME_COLUMNS = ("frame", "time", *columns_of(Role.GEOMETRY), "face")


@dataclass(frozen=True)
class Part:
    """Part ``number`` of ``count`` of the clips of a corpus, which has every ``count``-th clip.

    Raises:
        InputError: if ``number`` is not between 0 and ``count`` - 1.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.number < self.count:
            raise InputError(f"part={self.number} is out of range: with parts={self.count}, give 0 to parts - 1.")

    @property
    def name(self) -> str:
        """The name used in file names."""
        return f"{self.number}-of-{self.count}"

    def rows(self, clips: int) -> range:
        """Returns the rows of this part in a table of ``clips`` rows."""
        return range(self.number, clips, self.count)


def crop_clips(
    folder: Path,
    clips: pd.DataFrame,
    tasks: Iterator[ClipTask],
    *,
    detector: Detector,
    alignment: Alignment,
    max_failures: float,
    description: str,
    part: Part | None = None,
) -> None:
    """Crops the faces of all clips that are not in a journal yet.

    Args:
        folder: Path to the folder for faces and journals.
        clips: one row per clip, with at least ``emotion``, ``clip`` and ``path``.
        tasks: one task for each row, in order; consumed lazily.
        detector: face detector.
        alignment: alignment of the crops.
        max_failures: maximum fraction of clips that may fail.
        description: text next to the progress bar.
        part: part of the clips to crop; None: all clips.

    Raises:
        InputError: if too many clips fail, some cannot be read temporarily, or a worker is killed.
        OSError: if the folder cannot be written or the disk is full.
    """
    faces = folder / "faces"
    faces.mkdir(parents=True, exist_ok=True)
    rows = set(range(len(clips)) if part is None else part.rows(len(clips)))
    # Results for frames stay on disk: as Python dicts they would take ten times the memory of the table.
    finished = {entry["row"]: entry["failure"] for entry in _read_journals(folder) if entry["row"] in rows}
    failed = {row: failure for row, failure in finished.items() if failure}
    allowed = max_failures * len(clips)  # also for a part: in a small part a single bad clip could exceed its fraction
    unread: dict[int, str] = {}  # for a temporary reason
    done, running = len(finished), True
    waiting = (task for task in tasks if task.row in rows and task.row not in finished)
    crops = Parallel(n_jobs=-1, return_as="generator_unordered")(
        delayed(for_workers(crop_faces))(task, detector, alignment) for task in takewhile(lambda _: running, waiting)
    )
    path = folder / (JOURNAL if part is None else f"progress-{part.name}.jsonl")
    truncate_partial_line(path)
    try:
        with open(path, "a", encoding="utf-8") as journal, _progress() as progress:
            bar = progress.add_task(description, total=len(rows), completed=done)
            for crop in crops:
                entry = _write_faces(faces, clips.iloc[crop.row], crop)
                done += 1
                if crop.temporary:
                    unread[crop.row] = str(crop.failure)
                else:
                    failed |= {crop.row: crop.failure} if crop.failure else {}
                    running = len(failed) <= allowed
                    journal.write(json.dumps(entry) + "\n")
                    journal.flush()
                progress.advance(bar)
    except OSError:
        running = False
        deque(crops, maxlen=0)  # wait for clips in progress: otherwise threads of joblib report errors
        raise
    except TerminatedWorkerError as error:
        raise InputError(
            "a cropping worker was killed, perhaps because memory ran out: run the same command again to resume; "
            "LOKY_MAX_CPU_COUNT=1 uses less memory."
        ) from error
    except KeyboardInterrupt as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib warns of results that were not consumed
            crops.close()
        raise KeyboardInterrupt(
            f"interrupted after {done} of {len(rows)} files: run the same command again to resume."
        ) from error
    if len(failed) > allowed:
        where = folder / ("failures.csv" if part is None else f"failures-{part.name}.csv")
        _refuse_failures(where, _failures(clips, failed), len(rows), max_failures)
    if unread:
        _refuse_unread(_failures(clips, unread), len(rows))


def join(folder: Path, clips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[int]]:
    """Joins all journals of a folder into one table.

    Args:
        folder: Path to the folder with faces and journals of all clips.
        clips: one row per clip.

    Returns:
        The manifest, the failures and the pixel sums. The manifest has one row per frame, in the order of ``clips``,
        with the columns of the clip and ``face``, a path in the folder or None. Failures have the columns ``path`` and
        ``reason``. Pixel sums are those of :class:`fervid.faces.clip_faces.Crop` over all faces.

    Raises:
        InputError: if no clip has a face.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("row", *FRAME_COLUMNS)}
    sums, seen = [0] * 9, set()
    failed: dict[int, str] = {}
    for entry in _read_journals(folder):
        if entry["row"] in seen:  # prepared by a part and again as a whole, with the same result
            continue
        seen.add(entry["row"])
        failed |= {entry["row"]: entry["failure"]} if entry["failure"] else {}
        sums = [before + value for before, value in zip(sums, entry["sums"], strict=True)]
        for frame in entry["frames"]:
            columns["row"].append(entry["row"])
            for name in FRAME_COLUMNS:
                columns[name].append(frame.get(name))
    if not any(columns["face"]):
        raise InputError(f"no face was found in any of {len(clips)} files: check dataset.root and the detector.")
    # Clips finish in any order. Columns without any value, such as those of eyes, are dropped.
    table = pd.DataFrame(columns).sort_values("row", kind="stable", ignore_index=True)
    absent = [name for name in columns_of(Role.GEOMETRY) if table[name].isna().all()]
    table = table.drop(columns=absent)
    manifest = clips.loc[table.pop("row")].reset_index(drop=True).join(table)
    return manifest, _failures(clips, failed), sums


def _refuse_failures(path: Path, failures: pd.DataFrame, files: int, max_failures: float) -> NoReturn:
    """Writes the failures and raises an InputError, since there are too many."""
    write_csv(path, spreadsheet(failures.assign(outcome=FAILED)))
    first = failures.iloc[0]
    raise InputError(
        f"{len(failures)} of {files} files fail (first: {first['path']}: {first['reason']}), more than the fraction "
        f"dataset.max_failures={max_failures:g}: see {path}; try another detector, or raise dataset.max_failures."
    )


def _refuse_unread(unread: pd.DataFrame, files: int) -> NoReturn:
    first = unread.iloc[0]
    raise InputError(
        f"{len(unread)} of {files} files could not be read this time (first: {first['path']}: {first['reason']}): "
        "run the same command again to resume, or remove these files."
    )


def _failures(clips: pd.DataFrame, failed: Mapping[int, str]) -> pd.DataFrame:
    rows = [(clips["path"].iloc[row], failed[row]) for row in sorted(failed)]
    return pd.DataFrame(rows, columns=["path", "reason"])


def _write_faces(faces: Path, clip: pd.Series, crop: Crop) -> dict[str, Any]:
    """Writes the faces of a clip and returns its entry for the journal."""
    for frame, jpeg in zip(crop.frames, crop.faces, strict=True):
        frame["face"] = jpeg and _write_face(faces, crop.row, clip, frame["frame"], jpeg)
    return {"row": crop.row, "failure": crop.failure, "frames": crop.frames, "sums": crop.sums}


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, transient=True, disable=not Console().is_terminal)


class _Rate(ProgressColumn):
    def render(self, task: Any) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def _write_face(faces: Path, row: int, clip: pd.Series, frame: int, jpeg: bytes) -> str:
    """Writes a face and returns its path; names and labels of the corpus cannot lead out of the folder."""
    emotion, name = (re.sub(r"[^A-Za-z0-9-]+", "_", str(clip[key])) for key in ("emotion", "clip"))
    path = faces / emotion[:60] / f"{row:06d}_{name[-60:]}_{frame:05d}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(jpeg)
    return path.relative_to(faces.parent).as_posix()


def _read_journals(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields the finished clips of all journals; skips an incomplete last line, which may still be being written."""
    for path in sorted(folder.glob(JOURNALS)):
        with open(path, "rb") as file:
            yield from (json.loads(line) for line in file if line.endswith(b"\n"))
