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
so that a preparation that is killed at any moment goes on where it was, to the same bytes.
"""

import json
import re
import warnings
from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from fervid.faces.alignment import Alignment
from fervid.faces.cropping import Task, cut_faces
from fervid.faces.detection import Detector
from fervid.media.files import FAILED
from fervid.processes.lifetime import for_workers
from fervid.schema.atomic import cut_half_line, write_csv
from fervid.schema.columns import Role, columns_of
from fervid.schema.errors import InputError
from fervid.schema.escaping import spreadsheet

JOURNAL = "progress.jsonl"
LOOKED_AT = ("frame", "time", *columns_of(Role.GEOMETRY), "face")  # what may be told of a frame


def prepare(
    folder: Path,
    clips: pd.DataFrame,
    tasks: Iterator[Task],
    *,
    detector: Detector,
    alignment: Alignment,
    max_failures: float,
    description: str,
) -> tuple[pd.DataFrame, pd.DataFrame, list[int]]:
    """Cuts the faces of all clips that the journal does not have yet.

    Args:
        folder: where faces and journal go.
        clips: one row a clip: ``emotion``, ``clip`` and ``path`` at least.
        tasks: one for each row, in order; made as they are needed.
        detector: finds faces.
        alignment: cuts them out.
        max_failures: share of the clips that may fail.
        description: what to show beside the progress bar.

    Returns:
        The manifest's rows, in the order of ``clips``: one a frame, the clip's columns repeated, with ``face``, its
        file in the folder, None where no face was found; the failures: ``path`` and ``reason``; and the sums of
        :class:`fervid.faces.cropping.Cut` over all faces.

    Raises:
        InputError: if too many clips fail, some cannot be read for now, none shows a face, or a worker is killed.
        OSError: if the folder cannot be written, or the disk is full.
    """
    faces = folder / "faces"
    faces.mkdir(parents=True, exist_ok=True)
    # What was seen of the frames waits on the disk: as Python's dicts it takes ten times the room of the table.
    done_with = {entry["row"]: entry["failure"] for entry in _read_journal(folder / JOURNAL)}
    failed = [row for row, failure in done_with.items() if failure]
    most = max_failures * len(clips)
    going_on, again = True, []
    todo = takewhile(lambda _: going_on, (task for task in tasks if task.row not in done_with))
    done = Parallel(n_jobs=-1, return_as="generator_unordered")(
        delayed(for_workers(cut_faces))(task, detector, alignment) for task in todo
    )
    try:
        with open(folder / JOURNAL, "a", encoding="utf-8") as file, _progress() as progress:
            bar = progress.add_task(description, total=len(clips), completed=len(done_with))
            for cut in done:
                clip = clips.iloc[cut.row]
                for frame, jpeg in zip(cut.frames, cut.faces, strict=True):
                    frame["face"] = jpeg and _write_face(faces, cut.row, clip, frame["frame"], jpeg)
                entry = {"row": cut.row, "failure": cut.failure, "frames": cut.frames, "sums": cut.sums}
                done_with[cut.row] = cut.failure
                if cut.temporary:
                    again.append(cut.row)
                else:
                    failed += [cut.row] if cut.failure else []
                    going_on = len(failed) <= most
                    file.write(json.dumps(entry) + "\n")
                    file.flush()
                progress.advance(bar)
    except OSError:
        going_on = False
        deque(done, maxlen=0)  # the clips in work are waited for: cut off, joblib's threads complain of each other
        raise
    except TerminatedWorkerError as error:
        raise InputError(
            "a process that decodes was killed, perhaps for want of memory: run the same command again, it goes on "
            "where it stopped; LOKY_MAX_CPU_COUNT=1 uses less memory."
        ) from error
    except KeyboardInterrupt as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib's, that results were not waited for
            done.close()
        raise KeyboardInterrupt(
            f"interrupted after {len(done_with)} of {len(clips)} files: the same command goes on from there."
        ) from error
    failures = pd.DataFrame(
        [(clips["path"].iloc[row], done_with[row]) for row in sorted(failed)], columns=["path", "reason"]
    )
    if len(failed) > most:
        write_csv(folder / "failures.csv", spreadsheet(failures.assign(outcome=FAILED)))
        raise InputError(
            f"{len(failed)} of {len(clips)} files fail (first: {failures['path'][0]}: {failures['reason'][0]}), more "
            f"than dataset.max_failures={max_failures:g} of them: see {folder / 'failures.csv'}; another detector or "
            "a larger share may help."
        )
    if again:
        raise InputError(
            f"{len(again)} of {len(clips)} files could not be read this time (first: {clips['path'].iloc[again[0]]}: "
            f"{done_with[again[0]]}): run the same command again, it goes on where it stopped, or take "
            "these files away."
        )
    looked_at, sums = _looked_at(folder / JOURNAL)
    if not looked_at["face"].notna().any():
        raise InputError(f"no face was found in any of {len(clips)} files: is this the right folder, or detector?")
    return clips.loc[looked_at.pop("row")].reset_index(drop=True).join(looked_at), failures, sums


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


def _read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The finished clips."""
    cut_half_line(path)
    if path.exists():
        with open(path, "rb") as file:
            yield from map(json.loads, file)


def _looked_at(journal: Path) -> tuple[pd.DataFrame, list[int]]:
    """One row a frame, in the order of the clips, with the ``row`` of its clip; and the sums over all faces."""
    columns: dict[str, list[Any]] = {name: [] for name in ("row", *LOOKED_AT)}
    sums = [0] * 9
    for entry in _read_journal(journal):
        sums = [before + value for before, value in zip(sums, entry["sums"], strict=True)]
        for frame in entry["frames"]:
            columns["row"].append(entry["row"])
            for name in LOOKED_AT:
                columns[name].append(frame.get(name))
    # Clips are finished in any order. A corpus without eyes, or without faces, has no columns for them.
    table = pd.DataFrame(columns).sort_values("row", kind="stable", ignore_index=True)
    absent = [name for name in columns_of(Role.GEOMETRY) if table[name].isna().all()]
    return table.drop(columns=absent), sums
