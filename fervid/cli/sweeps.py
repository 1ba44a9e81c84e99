"""What a sweep is called, and what came of its jobs, which lies on disk: they may run in other processes.

Nothing heavy is imported here: Hydra makes the callback even for ``--help``.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from fervid.cli.folders import alone
from fervid.cli.mistakes import stop
from fervid.errors import InputError, first_line
from fervid.schema.same_system import is_neutral, is_place
from fervid.storage.atomic import write_text
from fervid.storage.links import refuse_links_out

ROOT = "dataset.root"
JOBS = "jobs"  # in the folder of a sweep: <number>.json each
_sweep: ContextVar[Path | None] = ContextVar("folder of the sweep at hand", default=None)
# Not in the callback, which launchers pickle for their workers.
_locks: ContextVar[ExitStack] = ContextVar("what the command at hand gives back when it ends")


class Jobs(Callback):
    """Writes down what came of each job of a sweep, in whichever process it runs; Hydra calls it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _refuse_links_out(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.runtime.cwd, config.hydra.sweep.dir)
        _refuse_links_out(folder)
        _refuse_second_start(folder)
        for left in (folder / JOBS).glob("*.json"):
            left.unlink()
        _sweep.set(folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        hydra = job_return.hydra_cfg.hydra if job_return.hydra_cfg is not None else None
        if hydra is None or hydra.mode != RunMode.MULTIRUN:
            return
        failed = job_return.status != JobStatus.COMPLETED
        # Not its return_value, which raises the error again.
        outcome = job_return._return_value
        written = {
            "number": hydra.job.num,
            "overrides": list(job_return.overrides or []),
            "score": outcome if isinstance(outcome, float) else None,
            "error": first_line(outcome) if failed else None,
        }
        folder = Path(hydra.runtime.cwd, hydra.sweep.dir)  # the job may be in another one: hydra.job.chdir
        write_text(folder / JOBS / f"{hydra.job.num}.json", json.dumps(written, indent=1) + "\n")


def _refuse_links_out(folder: Path) -> None:
    """Ends the program before Hydra itself, or a resumed run, writes through a planted link."""
    try:
        if folder.is_dir():
            refuse_links_out(folder)
    except InputError as error:
        # stop() raises SystemExit: Hydra would turn any other error of a callback into a warning.
        stop(f"{folder} cannot be written: {error}.")


def _refuse_second_start(folder: Path) -> None:
    """Ends the program if another process runs the sweep in this folder; holds the folder until the command ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _locks.get().enter_context(alone(folder))
    except InputError as error:
        stop(str(error))


@contextmanager
def sweep_at_hand() -> Iterator[None]:
    """Around a command: it begins without a sweep, and the folder of the one it ran is free afterwards.

    Hydra calls ``on_multirun_end`` of a callback only if no job failed.
    """
    _sweep.set(None)
    with ExitStack() as locks:
        _locks.set(locks)
        yield


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """What came of the jobs of a sweep, by their numbers: ``number``, ``overrides``, ``score`` and ``error``."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / JOBS).glob("*.json")]
    return sorted(jobs, key=lambda job: job["number"])


def print_jobs() -> str | None:
    """Prints a table of the jobs of the sweep that has ended, if there was one.

    Returns:
        A sentence if some failed.
    """
    folder = _sweep.get()
    jobs = read_jobs(folder) if folder is not None else []
    if not jobs:
        return None
    import pandas as pd  # not above: a command that only prints its help would load it
    from rich.console import Console

    from fervid.schema.tables import Table

    failures = [job for job in jobs if job["error"]]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs))
    rows = []
    for job in jobs:
        settings = [word for word in job["overrides"] if word not in shared]
        row = {"job": job["number"], "settings": " ".join(settings), "validation": job["score"]}
        rows.append(row | ({"": f"failed: {job['error']}" if job["error"] else ""} if failures else {}))
    Table("jobs", "the jobs of this sweep", pd.DataFrame(rows), {"validation": "{:.4f}"}).print(Console())
    if not failures:
        return None
    numbers = ", ".join(str(job["number"]) for job in failures)
    return (
        f"{len(failures)} of {len(jobs)} jobs failed ({numbers}); once mended, the same command runs them alone. "
        f"The first: {failures[0]['error']}"
    )


def in_order(words: Sequence[str]) -> list[str]:
    """The words of a command line with the settings of a sweep ordered by name: its jobs are numbered by them.

    Args:
        words: of any command; those of a single run stay as they are.
    """
    marks = ("-m", "--multirun", "hydra.mode=MULTIRUN")
    if not any(word in marks or word.startswith("sweep=") for word in words):
        return list(words)
    settings = iter(sorted(filter(_is_setting, words), key=_name))
    return [next(settings) if _is_setting(word) else word for word in words]


def sweep_name(words: Sequence[str]) -> str:
    """The folder of a sweep: the same settings have the same, in whichever order, any others another.

    Where the corpus and the cache lie, and with how many processes it is loaded, makes no other sweep; of a table such
    as ``split.path`` its file name counts.

    Args:
        words: of the command line.
    """
    told = [word.lstrip("+") for word in words if _is_setting(word) and not word.startswith("hydra.")]
    told = sorted(
        _moved(word) for word in told if _varies(word) or not (is_neutral(_name(word)) or _name(word) == ROOT)
    )
    named = [word.partition("=")[2] for word in told if _name(word) == "sweep"]
    varied = [_name(word).rsplit(".", 1)[-1] for word in told if _varies(word)]
    title = "-".join(named or varied)[:40] or "sweep"
    return f"{title}-{hashlib.sha256(' '.join(told).encode()).hexdigest()[:6]}"


def _moved(word: str) -> str:
    """A word as it is wherever its file lies."""
    name, _, value = word.partition("=")
    return f"{name}={Path(value).name}" if is_place(name) and not _varies(word) else word


def _is_setting(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def _name(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _varies(word: str) -> bool:
    value = word.partition("=")[2]
    return value.startswith(("range(", "choice(", "glob(")) or ("," in value and not value.startswith(("[", "{")))
