"""From the videos and pictures of a corpus to faces of one size on the disk: decode, detect, align, crop.

A prepared folder holds

==================  ==================================================================================================
``faces/``          one JPEG a face, in a folder an emotion
``manifest.parquet``  one row a frame that was looked at, with or without a face; written last: with it all is whole
``failures.csv``    files that could not be used, one line each: ``path``, ``reason`` and ``outcome``, ``failed`` for
                    videos and pictures without a usable face, ``left out`` for files that are no part of the corpus
``card.json``       source, settings, counts, mean and std, detection rate, versions, licence; ``card.md`` to read
``contact_sheet.png``  some faces of each emotion
==================  ==================================================================================================

Workers only compute; one process writes. What it has written of a clip is noted in a journal when all of it is there,
so that a preparation that is killed at any moment resumes where it was, to the same bytes. Several processes, on one
machine or many, may each prepare a part of the clips: every part has a journal of its own, and :func:`join` reads all.
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
JOURNALS = "progress*.jsonl"  # with those of the parts
DETECTED = ("frame", "time", *columns_of(Role.GEOMETRY), "face")  # what may be known of a frame


@dataclass(frozen=True)
class Part:
    """Part ``number`` of ``count`` of the clips of a corpus: every ``count``-th one.

    Raises:
        InputError: if there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.number < self.count:
            raise InputError(f"part={self.number} is out of range: parts={self.count} are numbered 0 to count - 1.")

    @property
    def name(self) -> str:
        """As file names have it."""
        return f"{self.number}-of-{self.count}"

    def rows(self, clips: int) -> range:
        """The rows of its clips in a table of so many."""
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
    """Crops the faces of all clips that no journal has yet.

    Args:
        folder: where faces and journals go.
        clips: one row a clip: ``emotion``, ``clip`` and ``path`` at least.
        tasks: one for each row, in order; made as they are needed.
        detector: finds faces.
        alignment: crops them.
        max_failures: share of the clips that may fail.
        description: what to show beside the progress bar.
        part: of the clips; None: all of them.

    Raises:
        InputError: if too many clips fail, some cannot be read for now, or a worker is killed.
        OSError: if the folder cannot be written, or the disk is full.
    """
    faces = folder / "faces"
    faces.mkdir(parents=True, exist_ok=True)
    own = set(range(len(clips)) if part is None else part.rows(len(clips)))
    # What was seen of the frames waits on the disk: as Python's dicts it takes ten times the room of the table.
    finished = {entry["row"]: entry["failure"] for entry in _read_journals(folder) if entry["row"] in own}
    failed = {row: failure for row, failure in finished.items() if failure}
    allowed = max_failures * len(clips)  # of a part, too: one bad clip may be all of a small part's share
    unread: dict[int, str] = {}  # for a reason that may pass
    done, running = len(finished), True
    waiting = (task for task in tasks if task.row in own and task.row not in finished)
    crops = Parallel(n_jobs=-1, return_as="generator_unordered")(
        delayed(for_workers(crop_faces))(task, detector, alignment) for task in takewhile(lambda _: running, waiting)
    )
    path = folder / (JOURNAL if part is None else f"progress-{part.name}.jsonl")
    truncate_partial_line(path)
    try:
        with open(path, "a", encoding="utf-8") as journal, _progress() as progress:
            bar = progress.add_task(description, total=len(own), completed=done)
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
        deque(crops, maxlen=0)  # the clips in work are waited for: cut off, joblib's threads complain of each other
        raise
    except TerminatedWorkerError as error:
        raise InputError(
            "a process that decodes was killed, perhaps for want of memory: run the same command again, it resumes "
            "where it stopped; LOKY_MAX_CPU_COUNT=1 uses less memory."
        ) from error
    except KeyboardInterrupt as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib's, that results were not waited for
            crops.close()
        raise KeyboardInterrupt(
            f"interrupted after {done} of {len(own)} files: the same command resumes from there."
        ) from error
    if len(failed) > allowed:
        where = folder / ("failures.csv" if part is None else f"failures-{part.name}.csv")
        _refuse_failures(where, _failures(clips, failed), len(own), max_failures)
    if unread:
        _refuse_unread(_failures(clips, unread), len(own))


def join(folder: Path, clips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[int]]:
    """Makes one table of what all journals of a folder have.

    Args:
        folder: with faces and journals of all clips.
        clips: one row a clip.

    Returns:
        The manifest's rows, in the order of ``clips``: one a frame, the clip's columns repeated, with ``face``, its
        file in the folder, None where no face was found; the failures: ``path`` and ``reason``; and the sums of
        :class:`fervid.faces.clip_faces.Crop` over all faces.

    Raises:
        InputError: if none shows a face.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("row", *DETECTED)}
    sums, seen = [0] * 9, set()
    failed: dict[int, str] = {}
    for entry in _read_journals(folder):
        if entry["row"] in seen:  # in a part and in the whole: both wrote the same
            continue
        seen.add(entry["row"])
        failed |= {entry["row"]: entry["failure"]} if entry["failure"] else {}
        sums = [before + value for before, value in zip(sums, entry["sums"], strict=True)]
        for frame in entry["frames"]:
            columns["row"].append(entry["row"])
            for name in DETECTED:
                columns[name].append(frame.get(name))
    if not any(columns["face"]):
        raise InputError(f"no face was found in any of {len(clips)} files: is this the right folder, or detector?")
    # Clips are finished in any order. A corpus without eyes has no columns for them.
    table = pd.DataFrame(columns).sort_values("row", kind="stable", ignore_index=True)
    absent = [name for name in columns_of(Role.GEOMETRY) if table[name].isna().all()]
    table = table.drop(columns=absent)
    manifest = clips.loc[table.pop("row")].reset_index(drop=True).join(table)
    return manifest, _failures(clips, failed), sums


def _refuse_failures(where: Path, failures: pd.DataFrame, files: int, max_failures: float) -> NoReturn:
    """Writes the failures of so many files, which are too many, and says so."""
    write_csv(where, spreadsheet(failures.assign(outcome=FAILED)))
    first = failures.iloc[0]
    raise InputError(
        f"{len(failures)} of {files} files fail (first: {first['path']}: {first['reason']}), more than "
        f"dataset.max_failures={max_failures:g} of them: see {where}; another detector or a larger share may help."
    )


def _refuse_unread(unread: pd.DataFrame, files: int) -> NoReturn:
    first = unread.iloc[0]
    raise InputError(
        f"{len(unread)} of {files} files could not be read this time (first: {first['path']}: {first['reason']}): "
        "run the same command again, it resumes where it stopped, or take these files away."
    )


def _failures(clips: pd.DataFrame, failed: Mapping[int, str]) -> pd.DataFrame:
    rows = [(clips["path"].iloc[row], failed[row]) for row in sorted(failed)]
    return pd.DataFrame(rows, columns=["path", "reason"])


def _write_faces(faces: Path, clip: pd.Series, crop: Crop) -> dict[str, Any]:
    """Writes the faces of a clip; its entry in the journal."""
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
    """Writes a face under a name that no file name or label of the corpus can lead astray."""
    emotion, name = (re.sub(r"[^A-Za-z0-9-]+", "_", str(clip[key])) for key in ("emotion", "clip"))
    path = faces / emotion[:60] / f"{row:06d}_{name[-60:]}_{frame:05d}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(jpeg)
    return path.relative_to(faces.parent).as_posix()


def _read_journals(folder: Path) -> Iterator[dict[str, Any]]:
    """The finished clips of all journals; a last line that is not finished may be in work by another process."""
    for path in sorted(folder.glob(JOURNALS)):
        with open(path, "rb") as file:
            yield from (json.loads(line) for line in file if line.endswith(b"\n"))
