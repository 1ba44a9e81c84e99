"""Prepares the clips of a corpus once: a function runs on every clip, and its results are written to a folder.

Workers only compute; a single process writes. It adds a clip to a journal once all files of the clip are written, so a
preparation that is killed at any time resumes and produces the same bytes. Several processes, on one or more machines,
can each prepare a part of the clips. Every part has its own journal, and :func:`read_journals` reads all of them.
"""

import json
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from fervid.errors import InputError
from fervid.media.files import FAILED
from fervid.processes.lifetime import for_workers
from fervid.storage.atomic import truncate_partial_line, write_csv
from fervid.storage.escaping import spreadsheet

JOURNAL = "progress.jsonl"
JOURNALS = "progress*.jsonl"  # including those of parts


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


class Result(Protocol):
    """What a worker returns for a clip.

    Attributes:
        row: row in the table of clips.
        failure: why the clip cannot be used; None if it can.
        temporary: whether the machine rather than the file caused the failure, so that a retry may succeed.
    """

    row: int
    failure: str | None
    temporary: bool


class Task(Protocol):
    """What a worker needs for a clip.

    Attributes:
        row: row in the table of clips.
    """

    @property
    def row(self) -> int: ...


def prepare_clips(
    folder: Path,
    clips: pd.DataFrame,
    tasks: Iterator[Task],
    work: Callable[[Any], Result],
    write: Callable[[Path, pd.Series, Any], dict[str, Any]],
    *,
    max_failures: float,
    advice: str,
    description: str,
    part: Part | None = None,
) -> None:
    """Prepares all clips that are not in a journal yet.

    Args:
        folder: Path to the folder for results and journals.
        clips: one row per clip, with at least ``emotion``, ``clip`` and ``path``.
        tasks: one :class:`Task` for each row, in order; consumed lazily.
        work: function that computes the :class:`Result` of a task; runs in worker processes.
        write: function that writes the files of a result below ``folder``, given the row of ``clips``, and returns what
            the journal records of it.
        max_failures: maximum fraction of clips that may fail.
        advice: what to try if more fail.
        description: text next to the progress bar.
        part: part of the clips to prepare; None: all clips.

    Raises:
        InputError: if too many clips fail, some cannot be read temporarily, or a worker is killed.
        OSError: if the folder cannot be written or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = set(range(len(clips)) if part is None else part.rows(len(clips)))
    # Results stay on disk: as Python dicts those of frames would take ten times the memory of the table.
    finished = {entry["row"]: entry["failure"] for entry in read_journals(folder) if entry["row"] in rows}
    failed = {row: failure for row, failure in finished.items() if failure}
    allowed = max_failures * len(clips)  # also for a part: in a small part a single bad clip could exceed its fraction
    unread: dict[int, str] = {}  # for a temporary reason
    done, running = len(finished), True
    waiting = (task for task in tasks if task.row in rows and task.row not in finished)
    results = Parallel(n_jobs=-1, return_as="generator_unordered")(
        delayed(for_workers(work))(task) for task in takewhile(lambda _: running, waiting)
    )
    path = folder / (JOURNAL if part is None else f"progress-{part.name}.jsonl")
    truncate_partial_line(path)
    try:
        with open(path, "a", encoding="utf-8") as journal, _progress() as progress:
            bar = progress.add_task(description, total=len(rows), completed=done)
            for result in results:
                recorded = write(folder, clips.iloc[result.row], result)
                done += 1
                if result.temporary:
                    unread[result.row] = str(result.failure)
                else:
                    failed |= {result.row: result.failure} if result.failure else {}
                    running = len(failed) <= allowed
                    journal.write(json.dumps({"row": result.row, "failure": result.failure, **recorded}) + "\n")
                    journal.flush()
                progress.advance(bar)
    except OSError:
        running = False
        deque(results, maxlen=0)  # wait for clips in progress: otherwise threads of joblib report errors
        raise
    except TerminatedWorkerError as error:
        raise InputError(
            "a worker process was killed, perhaps because memory ran out: run the same command again to resume; "
            "LOKY_MAX_CPU_COUNT=1 uses less memory."
        ) from error
    except KeyboardInterrupt as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib warns of results that were not consumed
            results.close()
        raise KeyboardInterrupt(
            f"interrupted after {done} of {len(rows)} files: run the same command again to resume."
        ) from error
    if len(failed) > allowed:
        where = folder / ("failures.csv" if part is None else f"failures-{part.name}.csv")
        refuse_failures(where, list_failures(clips, failed), len(rows), max_failures, advice)
    if unread:
        _refuse_unread(list_failures(clips, unread), len(rows))


def read_journals(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields what the journals of a folder record, once for each finished clip.

    An incomplete last line, which may still be being written, is skipped.
    """
    seen = set()
    for path in sorted(folder.glob(JOURNALS)):
        with open(path, "rb") as file:
            for entry in (json.loads(line) for line in file if line.endswith(b"\n")):
                if entry["row"] not in seen:  # prepared by a part and again as a whole, with the same result
                    seen.add(entry["row"])
                    yield entry


def list_failures(clips: pd.DataFrame, failed: Mapping[int, str]) -> pd.DataFrame:
    """Returns a table with the ``path`` and ``reason`` of the clips that failed, given their rows and reasons."""
    rows = [(clips["path"].iloc[row], failed[row]) for row in sorted(failed)]
    return pd.DataFrame(rows, columns=["path", "reason"])


def result_path(folder: Path, row: int, clip: pd.Series, ending: str) -> Path:
    """Returns the path for a file of a clip and creates its folder.

    Names and labels of the corpus cannot lead out of ``folder``.

    Args:
        folder: Path to the folder, which gets one folder for each emotion.
        row: row of the clip in the table of clips, which makes the path unique.
        clip: the clip, with ``emotion`` and ``clip``.
        ending: end of the file name.
    """
    emotion, name = (re.sub(r"[^A-Za-z0-9-]+", "_", str(clip[key])) for key in ("emotion", "clip"))
    path = folder / emotion[:60] / f"{row:06d}_{name[-60:]}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refuse_failures(path: Path, failures: pd.DataFrame, files: int, max_failures: float, advice: str) -> NoReturn:
    """Writes a list of failures and reports that there are too many.

    Args:
        path: path of the CSV file to write.
        failures: ``path`` and ``reason`` of each file that failed.
        files: number of all files.
        max_failures: maximum fraction of files that may fail.
        advice: what to try.

    Raises:
        InputError: always.
    """
    write_csv(path, spreadsheet(failures.assign(outcome=FAILED)))
    first = failures.iloc[0]
    raise InputError(
        f"{len(failures)} of {files} files fail (first: {first['path']}: {first['reason']}), more than the fraction "
        f"dataset.max_failures={max_failures:g}: see {path}; {advice}, or raise dataset.max_failures."
    )


def _refuse_unread(unread: pd.DataFrame, files: int) -> NoReturn:
    first = unread.iloc[0]
    raise InputError(
        f"{len(unread)} of {files} files could not be read this time (first: {first['path']}: {first['reason']}): "
        "run the same command again to resume, or remove these files."
    )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, transient=True, disable=not Console().is_terminal)


class _Rate(ProgressColumn):
    def render(self, task: Any) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
