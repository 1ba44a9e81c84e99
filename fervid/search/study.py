"""Runs the trials of a search one after another with Optuna."""

import gc
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytorch_lightning as pl
from omegaconf import DictConfig
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console
from rich.logging import RichHandler

from fervid.cli import compose
from fervid.cli.folders import alone
from fervid.cli.mistakes import mistake
from fervid.cli.overrides import own_config_folder, printed_command
from fervid.cli.sweeps import sweep_name
from fervid.errors import InputError, first_line
from fervid.processes.lifetime import check_terminated
from fervid.schema.tables import Table
from fervid.search.space import SearchSpace
from fervid.storage.atomic import truncate_partial_line
from fervid.train import training
from fervid.train.process_setup import set_up_process

log = logging.getLogger(__name__)


def search(space: SearchSpace, config: DictConfig, folder: Path, *, trials: int, hours: float | None = None) -> None:
    """Runs trials and prints the best; resumes an earlier search in the same folder.

    Args:
        space: the search space.
        config: the configuration of the first values, for the settings that all trials share.
        folder: folder of the study and its runs.
        trials: total number of trials, including those already run.
        hours: start no new trial after this many hours; None: no limit.

    Raises:
        InputError: if the folder contains a search of other settings or on other data, is used by another process, or
            no trial was finished.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False, show_time=False)], force=True
    )
    set_up_process(verbose=True)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        study = _open_study(folder, space.words, config)
        ended = len(study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]))
        if ended:
            log.info("Resuming the search after %d trials.", ended)
        try:
            _run_trials(study, trials - ended, hours, space, folder)
        except (SystemExit, KeyboardInterrupt):
            log.warning("Interrupted: run the same command again to resume.")
            if study.get_trials(states=[TrialState.COMPLETE]):
                _print_best(study, space, folder)
            sys.exit(1)
        _print_best(study, space, folder)


def _open_study(folder: Path, words: list[str], config: DictConfig) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder.resolve() / "study.log"
    # Remains of a search that was killed while writing; no other process is using the folder.
    truncate_partial_line(path)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    try:
        study = optuna.create_study(
            study_name="fervid",
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
            direction="minimize" if config.finetune.monitor.endswith("loss") else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({first_line(error)}): choose another --folder, or remove it to search again."
        ) from error
    searched = sweep_name(words)  # does not depend on the order of the words or on cache_dir
    if study.user_attrs.get("searched", searched) != searched:
        raise InputError(f"{folder} contains a search of other settings: choose another --folder, or remove it.")
    # Compares the data itself: the content at a path may have changed, or the same data may have been moved.
    data = training.data_fingerprint(config)
    if study.user_attrs.get("data", data) != data:
        raise InputError(f"{folder} contains a search on other data: choose another --folder, or remove it.")
    study.set_user_attr("searched", searched)
    study.set_user_attr("data", data)
    repeated = {trial.user_attrs.get("repeats") for trial in study.trials}
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # interrupted or killed: run it again
        if trial.number not in repeated:
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    # Another seed after each start; otherwise the sampler would repeat its first samples.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    return study


def _run_trials(study: optuna.Study, count: int, hours: float | None, space: SearchSpace, folder: Path) -> None:
    """Runs trials one by one. An interrupted trial stays marked as running; ``study.optimize`` would mark it failed."""
    began = time.monotonic()
    while count > 0 and (hours is None or time.monotonic() - began < 3600 * hours):
        count -= 1
        trial = study.ask()
        try:
            study.tell(trial, _try(trial, space, folder / str(trial.number)))
        except optuna.TrialPruned:
            log.info("Trial %d stopped early: worse than the median of earlier trials.", trial.number)
            study.tell(trial, state=TrialState.PRUNED)
        except Exception as error:
            found = mistake(error, folder)
            log.error("Trial %d failed: %s", trial.number, found, exc_info=not isinstance(found, InputError))
            traceback.clear_frames(error.__traceback__)  # frees the trial's model
            study.tell(trial, state=TrialState.FAIL)
        gc.collect()  # all trials run in this process


class _Pruning(pl.Callback):
    """Stops a trial that is worse than the median of earlier trials at the same epoch."""

    def __init__(self, trial: optuna.Trial, monitor: str):
        self.trial, self.monitor = trial, monitor

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.trial.report(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch + 1)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def _try(trial: optuna.Trial, space: SearchSpace, folder: Path) -> float:
    check_terminated()
    drawn = space.draw(trial)
    config = compose("train", [*space.fixed, *drawn])
    log.info("Trial %d: %s", trial.number, " ".join(drawn))
    pruning = _Pruning(trial, config.finetune.monitor)
    return training.train(config, folder, callbacks=[pruning], test=False, resume=True)


def _print_best(study: optuna.Study, space: SearchSpace, folder: Path) -> None:
    finished = study.get_trials(states=[TrialState.COMPLETE])
    if not finished:
        raise InputError(f"none of the {len(study.trials)} trials was finished: see the messages above.")
    names = list(dict.fromkeys(name for trial in finished for name in trial.params))
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    best = sorted(finished, key=lambda trial: sign * float(trial.value or 0))[:10]
    rows = [
        {"trial": trial.number, **{name: _format(trial.params.get(name)) for name in names}, "validation": trial.value}
        for trial in best
    ]
    title = f"Best of {len(study.trials)} trials ({len(finished)} completed)"
    console = Console(soft_wrap=True, highlight=False, markup=False)
    Table("trials", title, pd.DataFrame(rows), {"validation": "{:.4f}"}).print(console)
    words = [*own_config_folder(), *space.fixed, *(f"{name}={value}" for name, value in study.best_params.items())]
    console.print(f"Output: {folder}")
    console.print(f"Train and test the best settings: {printed_command('fervid.train', words, {})}")


def _format(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
