"""The running job: the only module that reads Hydra's global state."""

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

from fervid.cli.checks import check_files, check_packages, check_types, check_weights
from fervid.cli.composing import add_command_line
from fervid.cli.corpora import complete_corpora
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
    """A job of a command: a single run, or one job of a sweep.

    Attributes:
        command: name of its primary configuration.
        folder: its output folder, created by Hydra.
        overrides: the words of its command line.
        choices: the option chosen in each group, including Hydra's own groups.
        is_sweep: whether it belongs to a sweep.
        number: its number in the sweep; 0 for a single run.
    """

    command: str
    folder: Path
    overrides: list[str]
    choices: dict[str, str | None]
    is_sweep: bool
    number: int


def running_job() -> Job:
    """Returns the job that Hydra is running in this process."""
    hydra = HydraConfig.get()
    is_sweep = hydra.mode == RunMode.MULTIRUN
    # Not resolved: a word may contain text that looks like an interpolation.
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
    """Returns the folders in which Hydra found the configuration; a launcher's worker has no ``--config-dir``."""
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.schema == "file"]


@contextmanager
def job(config: DictConfig) -> Iterator[Job]:
    """Context manager around the work of one job; checks its settings first and handles its errors.

    A user's mistake ends a single run with one sentence. In a sweep, it is logged and the other jobs continue.

    Args:
        config: the configuration of the job; the entries ``choices`` and ``overrides`` are added. Settings of a wrong
            type or out of range, missing files and missing packages are refused before anything is loaded.
    """
    check_terminated()
    running = running_job()
    use_config_folders(_searched_folders())
    try:
        set_up_rank(**trainer_size(config))
        add_command_line(config, running.choices, running.overrides)
        check_types(config, running.command)
        complete_corpora(config)
        check_limits(config)
        if not (running.folder / RESULTS_FILE).exists():  # a finished job is not run again
            check_files(config)
            check_weights(config)
            check_packages(config)
        yield running
    except Exception as error:
        found = mistake(error, running.folder)
        remove_if_empty(running.folder)
        if not running.is_sweep:
            if isinstance(found, InputError):
                stop(str(found))
            raise
        # Logged here, since Hydra reports it only after the whole sweep.
        log.error("job %s failed: %s", running.number, found, exc_info=not isinstance(found, InputError))
        traceback.clear_frames(error.__traceback__)  # Hydra keeps the error, whose frames would keep the job's model
        raise found from None
    finally:
        gc.collect()  # the jobs of a sweep run in one process


def trainer_size(config: DictConfig) -> dict[str, Any]:
    """Returns ``devices`` and ``num_nodes`` of the trainer; empty for commands without a trainer."""
    trainer = config.get("trainer") or {}
    return {name: trainer[name] for name in ("devices", "num_nodes") if trainer.get(name) is not None}
