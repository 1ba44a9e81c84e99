"""The name of a sweep and the results of its jobs, which are stored on disk as jobs may run in other processes.

This module has no heavy imports, since Hydra creates the callback even for ``--help``.
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
JOBS = "jobs"  # folder in the folder of a sweep, with one file <number>.json per job
_sweep: ContextVar[Path | None] = ContextVar("folder of the current sweep", default=None)
# Not an attribute of the callback, which launchers pickle for their workers.
_locks: ContextVar[ExitStack] = ContextVar("locks to release when the current command ends")


class Jobs(Callback):
    """Hydra callback that records the result of each job of a sweep, in whichever process the job runs."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _refuse_links_out(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.runtime.cwd, config.hydra.sweep.dir)
        _refuse_links_out(folder)
        _refuse_second_start(folder)
        for old in (folder / JOBS).glob("*.json"):
            old.unlink()
        _sweep.set(folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        hydra = job_return.hydra_cfg.hydra if job_return.hydra_cfg is not None else None
        if hydra is None or hydra.mode != RunMode.MULTIRUN:
            return
        failed = job_return.status != JobStatus.COMPLETED
        # Not return_value, which raises the error again.
        outcome = job_return._return_value
        record = {
            "number": hydra.job.num,
            "overrides": list(job_return.overrides or []),
            "score": outcome if isinstance(outcome, float) else None,
            "error": first_line(outcome) if failed else None,
        }
        folder = Path(hydra.runtime.cwd, hydra.sweep.dir)  # absolute: hydra.job.chdir may change the folder
        write_text(folder / JOBS / f"{hydra.job.num}.json", json.dumps(record, indent=1) + "\n")


def _refuse_links_out(folder: Path) -> None:
    """Ends the program before Hydra or a resumed run writes through a link that leads out of the folder."""
    try:
        if folder.is_dir():
            refuse_links_out(folder)
    except InputError as error:
        # stop() raises SystemExit; Hydra converts any other error of a callback to a warning.
        stop(f"{folder} cannot be written: {error}.")


def _refuse_second_start(folder: Path) -> None:
    """Locks the folder of a sweep until the command ends; ends the program if another process has locked it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _locks.get().enter_context(alone(folder))
    except InputError as error:
        stop(str(error))


@contextmanager
def current_sweep() -> Iterator[None]:
    """Context manager around a command that resets the current sweep before and unlocks its folder afterwards.

    ``on_multirun_end`` cannot be used for this: Hydra calls it only if no job failed.
    """
    _sweep.set(None)
    with ExitStack() as locks:
        _locks.set(locks)
        yield


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """Returns the records of a sweep's jobs, sorted by number: ``number``, ``overrides``, ``score`` and ``error``."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / JOBS).glob("*.json")]
    return sorted(jobs, key=lambda job: job["number"])


def print_jobs() -> str | None:
    """Prints a table of the jobs of the current sweep, if there is one.

    Returns:
        A sentence about the failed jobs; None if no job failed.
    """
    folder = _sweep.get()
    jobs = read_jobs(folder) if folder is not None else []
    if not jobs:
        return None
    import pandas as pd  # imported here, so that --help does not load it
    from rich.console import Console

    from fervid.schema.tables import Table

    failures = [job for job in jobs if job["error"]]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs))
    rows = []
    for job in jobs:
        settings = [word for word in job["overrides"] if word not in shared]
        row = {"job": job["number"], "settings": " ".join(settings), "validation": job["score"]}
        rows.append(row | ({"": f"failed: {job['error']}" if job["error"] else ""} if failures else {}))
    Table("jobs", "Jobs of this sweep", pd.DataFrame(rows), {"validation": "{:.4f}"}).print(Console())
    if not failures:
        return None
    numbers = ", ".join(str(job["number"]) for job in failures)
    return (
        f"{len(failures)} of {len(jobs)} jobs failed ({numbers}); after fixing the cause, run the same command again "
        f"to run only these jobs. First error: {failures[0]['error']}"
    )


def sort_settings(words: Sequence[str]) -> list[str]:
    """Sorts the settings of a sweep by name, so that the numbers of its jobs do not depend on their order.

    Args:
        words: the words of a command line; those of a single run are returned unchanged.
    """
    sweep_options = ("-m", "--multirun", "hydra.mode=MULTIRUN")
    if not any(word in sweep_options or word.startswith("sweep=") for word in words):
        return list(words)
    settings = iter(sorted(filter(_is_setting, words), key=_name))
    return [next(settings) if _is_setting(word) else word for word in words]


def sweep_name(words: Sequence[str]) -> str:
    """Returns the folder name of a sweep: equal for the same settings in any order, different for other settings.

    The paths of the corpus and the cache and the number of loading processes have no influence; of a table such as
    ``split.path``, only the file name counts.

    Args:
        words: the words of the command line.
    """
    settings = [word.lstrip("+") for word in words if _is_setting(word) and not word.startswith("hydra.")]
    settings = sorted(
        _without_folder(word)
        for word in settings
        if _varies(word) or not (is_neutral(_name(word)) or _name(word) == ROOT)
    )
    named = [word.partition("=")[2] for word in settings if _name(word) == "sweep"]
    varied = [_name(word).rsplit(".", 1)[-1] for word in settings if _varies(word)]
    title = "-".join(named or varied)[:40] or "sweep"
    return f"{title}-{hashlib.sha256(' '.join(settings).encode()).hexdigest()[:6]}"


def _without_folder(word: str) -> str:
    """Reduces a path in a setting to its file name."""
    name, _, value = word.partition("=")
    return f"{name}={Path(value).name}" if is_place(name) and not _varies(word) else word


def _is_setting(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def _name(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _varies(word: str) -> bool:
    value = word.partition("=")[2]
    return value.startswith(("range(", "choice(", "glob(")) or ("," in value and not value.startswith(("[", "{")))
