"""What a sweep is called, and what came of its jobs.

Nothing heavy is imported here: Hydra makes the callback even for ``--help``.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from fervid.schema.errors import InputError, first_line
from fervid.schema.links import refuse_links_out


class Jobs(Callback):
    """Keeps what came of each job of the sweep at hand; Hydra calls it.

    Attributes:
        done: of the process, one dict a job.
        varied: names of what differs between its jobs.
    """

    done: list[dict[str, Any]] = []
    varied: set[str] = set()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _refuse_links_out(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _refuse_links_out(Path(config.hydra.sweep.dir))
        self.done.clear()
        self.varied.clear()
        told = [word.lstrip("+~").partition("=") for word in config.hydra.overrides.task]
        self.varied.update(name for name, _, value in told if _varies(value))
        self.varied.update(config.hydra.sweeper.get("params") or {})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        hydra = job_return.hydra_cfg.hydra if job_return.hydra_cfg is not None else None
        if hydra is None or hydra.mode != RunMode.MULTIRUN:
            return
        failed = job_return.status != JobStatus.COMPLETED
        # Not its return_value, which raises the error again.
        outcome = job_return._return_value
        self.done.append(
            {
                "number": hydra.job.num,
                "overrides": list(job_return.overrides or []),
                "score": None if failed else outcome,
                "error": first_line(outcome) if failed else None,
            }
        )


def _refuse_links_out(folder: Path) -> None:
    """Ends the program before Hydra itself, or a resumed run, writes through a planted link."""
    try:
        if folder.is_dir():
            refuse_links_out(folder)
    except InputError as error:
        print(f"fervid: {folder} cannot be written: {error}.", file=sys.stderr)
        raise SystemExit(1) from error  # Hydra would turn any other error of a callback into a warning


def print_jobs() -> str | None:
    """Prints a table of the jobs of the sweep that has ended, if there was one.

    Returns:
        A sentence if some failed.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not Jobs.done:
        return None
    table = Table(title="the jobs of this sweep")
    table.add_column("job", justify="right")
    table.add_column("settings")
    table.add_column("validation", justify="right")
    failures = [job for job in Jobs.done if job["error"]]
    if failures:
        table.add_column("")
    for job in Jobs.done:
        settings = [word for word in job["overrides"] if word.lstrip("+~").partition("=")[0] in Jobs.varied]
        score = f"{job['score']:.4f}" if isinstance(job["score"], float) else ""
        failed = [f"[red]failed:[/] {escape(job['error'])}" if job["error"] else ""] if failures else []
        table.add_row(str(job["number"]), escape(" ".join(settings)), score, *failed)
    Console().print(table)
    if not failures:
        return None
    numbers = ", ".join(str(job["number"]) for job in failures)
    return (
        f"{len(failures)} of {len(Jobs.done)} jobs failed ({numbers}); once mended, the same command runs them alone. "
        f"The first: {failures[0]['error']}"
    )


def sweep_name(words: Sequence[str]) -> str:
    """The folder of a sweep: the same command has the same, any other another.

    Args:
        words: of the command line.
    """
    told = [word for word in words if "=" in word and not word.startswith("hydra.")]
    named = [value for name, _, value in (word.partition("=") for word in told) if name == "sweep"]
    varied = [name.rsplit(".", 1)[-1] for name, _, value in (word.partition("=") for word in told) if _varies(value)]
    title = "-".join(named or varied)[:40] or "sweep"
    return f"{title}-{hashlib.sha256(' '.join(told).encode()).hexdigest()[:6]}"


def _varies(value: str) -> bool:
    return value.startswith(("range(", "choice(", "glob(")) or ("," in value and not value.startswith(("[", "{")))
