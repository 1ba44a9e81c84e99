"""The job that Hydra runs: the one place where Hydra's global state is read."""

import gc
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fervid.cli.checks import check_files, check_types
from fervid.cli.composing import add_command_line
from fervid.cli.folders import remove_if_empty
from fervid.cli.limits import check_limits
from fervid.cli.mistakes import mistake, stop
from fervid.errors import InputError
from fervid.processes.lifetime import check_terminated
from fervid.processes.ranks import set_up_rank
from fervid.schema.config_folder import use_config_folders
from fervid.schema.results import RESULTS_FILE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job of a command: a single run, or one of a sweep.

    Attributes:
        command: the name of its primary configuration.
        folder: that Hydra made for what it leaves.
        overrides: the words of its command line.
        choices: the option chosen in each group; Hydra's own groups are among them.
        is_sweep: whether it is one of a sweep.
        number: in the sweep; 0 for a single run.
    """

    command: str
    folder: Path
    overrides: list[str]
    choices: dict[str, str | None]
    is_sweep: bool
    number: int


def running_job() -> Job:
    """The job that Hydra runs in this process."""
    hydra = HydraConfig.get()
    is_sweep = hydra.mode == RunMode.MULTIRUN
    # Unresolved: a word may hold what looks like a reference.
    words, choices = (OmegaConf.to_container(node) for node in (hydra.overrides.task, hydra.runtime.choices))
    assert isinstance(words, list)
    assert isinstance(choices, dict)
    return Job(
        command=str(hydra.job.config_name),
        folder=Path(hydra.runtime.output_dir),
        overrides=[str(word) for word in words],
        choices={str(group): option for group, option in choices.items()},
        is_sweep=is_sweep,
        number=int(hydra.job.num) if is_sweep else 0,
    )


def _searched_folders() -> list[str]:
    """The folders in which Hydra found the configuration: a worker of a launcher has no ``--config-dir`` of its own."""
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.schema == "file"]


@contextmanager
def job(config: DictConfig) -> Iterator[Job]:
    """Around the work of one job: a user's mistake ends a single run here and now, but in a sweep the others go on.

    Args:
        config: of the job, given the entries ``choices`` and ``overrides``; settings of a wrong type or out of range,
            and files that are not there, are refused before anything is loaded.
    """
    check_terminated()
    running = running_job()
    use_config_folders(_searched_folders())
    try:
        set_up_rank(**trainer_size(config))
        add_command_line(config, running.choices, running.overrides)
        check_types(config, running.command)
        check_limits(config)
        if not (running.folder / RESULTS_FILE).exists():  # else it will not be run again
            check_files(config)
        yield running
    except Exception as error:
        found = mistake(error, running.folder)
        remove_if_empty(running.folder)
        if not running.is_sweep:
            if isinstance(found, InputError):
                stop(str(found))
            raise
        # Hydra tells of it only when the whole sweep is over.
        log.error("job %s failed: %s", running.number, found, exc_info=not isinstance(found, InputError))
        traceback.clear_frames(error.__traceback__)  # Hydra keeps the error, which would keep the job's model
        raise found from None
    finally:
        gc.collect()  # the jobs of a sweep share a process


def trainer_size(config: DictConfig) -> dict[str, Any]:
    """On how many devices and machines a command works, as Lightning's Trainer is told; most use one."""
    trainer = config.get("trainer") or {}
    return {name: trainer[name] for name in ("devices", "num_nodes") if trainer.get(name) is not None}
