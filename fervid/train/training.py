"""A training run, top to bottom."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from fervid import figures
from fervid.callbacks import Answers, EpochSeed, FreezeThenFineTune, LastCheckpoint, OwnSigterm
from fervid.callbacks.checkpoint_io import AtomicCheckpointIO
from fervid.cli.checks import check_files
from fervid.cli.folders import alone
from fervid.cli.job import trainer_size
from fervid.cli.limits import check_limits
from fervid.cli.mistakes import mistake
from fervid.data.frame_datamodule import FrameDataModule
from fervid.errors import InputError
from fervid.processes.preparing import showing_work, sign_file, wait_for_first
from fervid.processes.ranks import ending_together, find_place
from fervid.runs.build import make_datamodule, make_model
from fervid.runs.drawing import draw_predictions
from fervid.runs.finished import finished_score
from fervid.runs.printing import print_split, print_summary
from fervid.runs.record import WarningCollector, plain_settings, write_manifest
from fervid.schema.predictions import write_predictions
from fervid.schema.results import write_results
from fervid.schema.same_system import RunIdentity, run_settings
from fervid.tasks.task import Task
from fervid.train.checks import check_monitor, check_optimizer, check_single_frame, trainer_mistakes
from fervid.train.record import collect, compared_settings
from fervid.train.resuming import checked_checkpoint, last_checkpoint, next_step, unfinished_checkpoint
from fervid.train.tensorboard import log_figures, log_hparams
from fervid.train.threads import torch_threads
from fervid.train.trainer import make_trainer

log = logging.getLogger(__name__)


def train(
    config: DictConfig,
    folder: str | Path,
    *,
    callbacks: Sequence[pl.Callback] = (),
    test: bool = True,
    resume: bool = False,
) -> float:
    """Trains, tests and records one run.

    It needs nothing global, such as Hydra's own state: it may be called from a notebook, a test or a worker process. Of
    the environment it reads what a launcher such as torchrun says of ranks; it seeds the global random generators.

    Args:
        config: of the command ``train``; :func:`fervid.cli.compose` gives one.
        folder: where everything that the run leaves lies; made if absent.
        callbacks: more of them, beside a run's own.
        test: whether to look at the test subset at all; without it nothing but checkpoints and curves is left.
        resume: whether the same run may have been there before: if it was finished it is not run again, else it is
            resumed from its last checkpoint.

    Returns:
        The validation score, ``finetune.monitor``, of the weights that were kept.

    Raises:
        InputError: if the configuration, the corpus or the hardware cannot be used, another process trains in the
            folder, or a finished run would be written over.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    is_first = find_place(**trainer_size(config)).rank == 0
    with WarningCollector() as collected, ExitStack() as stack:
        finished = finished_score(folder, config, lambda: data_fingerprint(config), resume=resume)
        if finished is None and is_first:  # for all processes of the run; what is finished may be read by many at once
            stack.enter_context(alone(folder))
            # Again: the process that held the folder until now may have finished the run.
            finished = finished_score(folder, config, lambda: data_fingerprint(config), resume=resume)
        if finished is not None:
            return finished
        return _run(config, folder, callbacks, test, resume, is_first, collected.sentences)


def _run(
    config: DictConfig,
    folder: Path,
    callbacks: Sequence[pl.Callback],
    test: bool,
    resume: bool,
    is_first: bool,
    warnings: list[str],
) -> float:
    """A run that is not finished, from its configuration to its figures; ``warnings`` grow while it runs."""
    began = time.perf_counter()
    console = Console(quiet=not is_first)
    check_limits(config)
    check_files(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = make_datamodule(config)
    finetune = _make_finetune(config, folder)
    answers, checkpoint_io = Answers(), AtomicCheckpointIO()
    own = [finetune, EpochSeed(config.seed), OwnSigterm(), answers]
    last = LastCheckpoint(last_checkpoint(folder))
    trainer = make_trainer(config, folder, [*own, last, *_make_callbacks(config), *callbacks], checkpoint_io)
    if config.trainer.accelerator == "cpu" and torch.cuda.is_available():
        log.info("this machine has a GPU: trainer=gpu trains on it.")

    settings = plain_settings(config)
    several = trainer.world_size > 1 or not is_first
    sign = sign_file(datamodule.cache_dir, run_settings(settings)) if several else None
    _prepare(datamodule, folder, console, is_first, sign)
    identity = RunIdentity.of(settings, datamodule.fingerprint)
    checkpoint_io.run = asdict(identity)
    ckpt_path = config.ckpt_path or (unfinished_checkpoint(folder, identity) if resume else None)

    model = make_model(config, datamodule.target)
    if datamodule.batch_size == 1:
        check_single_frame(model, finetune)
    seconds = {"prepare": time.perf_counter() - began}
    together = ending_together(trainer, next_step(folder, config.get("overrides") or []))
    threads = torch_threads(config.threads, model, datamodule.batch_size, config.trainer.accelerator)
    with together, trainer_mistakes(), threads:
        seconds["fit"] = _fit(trainer, model, datamodule, finetune, ckpt_path, identity)
        if not test:
            return float(finetune.best["score"])
        tables, seconds["test"] = _predict(trainer, model, datamodule, answers)
    if trainer.is_global_zero:
        write_predictions(folder, tables["test"], tables["val"])
        outcome = collect(config, trainer, model, datamodule, finetune, tables["test"], warnings, seconds)
        # Before anything is drawn or logged: no figure can lose what was learned.
        write_results(folder, outcome)
        _draw(config, folder, trainer, model, datamodule, finetune, outcome, tables["test"])
        print_summary(console, folder, outcome)
    return float(finetune.best["score"])


def data_fingerprint(config: DictConfig) -> str:
    """The fingerprint of the data that a configuration names; prepares them if need be.

    Raises:
        InputError: if they are not there or cannot be used.
    """
    check_files(config)
    try:
        datamodule = make_datamodule(config)
    except HydraException as error:  # which wraps what the classes of the configuration say
        raise mistake(error, Path()) from error
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule.fingerprint


def _prepare(datamodule: FrameDataModule, folder: Path, console: Console, is_first: bool, sign: Path | None) -> None:
    """Prepares and splits the corpus; the first process works, the others wait for its files."""
    if sign is None:
        datamodule.prepare_data()
    elif is_first:
        with showing_work(sign):
            datamodule.prepare_data()
    else:
        wait_for_first(lambda: datamodule.is_ready, sign)
    datamodule.setup()
    if is_first:
        write_manifest(folder, datamodule)
    print_split(console, datamodule)


def _make_finetune(config: DictConfig, folder: Path) -> FreezeThenFineTune:
    """The phases of training, with a monitor, an optimizer and a schedule that work."""
    finetune: FreezeThenFineTune = instantiate(
        config.finetune, scheduler=instantiate(config.scheduler) or None, folder=folder / "checkpoints", _convert_="all"
    )
    check_monitor(config, finetune)
    check_optimizer(config, finetune)
    return finetune


def _make_callbacks(config: DictConfig) -> list[pl.Callback]:
    """The callbacks of the group ``callbacks``, by the names that the user gave them.

    Raises:
        InputError: if one is no callback.
    """
    made = {name: instantiate(each, _convert_="all") for name, each in (config.get("callbacks") or {}).items()}
    for name, callback in made.items():
        if not isinstance(callback, pl.Callback):
            raise InputError(
                f"callbacks.{name} is a {type(callback).__name__}, not a callback: give the _target_ of a subclass of "
                "pytorch_lightning.Callback."
            )
    return list(made.values())


def _fit(
    trainer: pl.Trainer,
    model: Task,
    datamodule: FrameDataModule,
    finetune: FreezeThenFineTune,
    ckpt_path: str | Path | None,
    identity: RunIdentity,
) -> float:
    """Trains through all phases; returns the seconds that took, those before the run was resumed included."""
    began = time.perf_counter()
    checkpoint = None if ckpt_path is None else checked_checkpoint(ckpt_path, model, identity)
    trainer.fit(model, datamodule, ckpt_path=checkpoint, weights_only=True)
    took = time.perf_counter() - began
    if not finetune.history:
        raise InputError(
            "training ended before its first epoch was finished: give a larger trainer.max_time or max_steps, or "
            "leave them out."
        )
    return max(took, sum(row["seconds"] for row in finetune.history))


def _predict(
    trainer: pl.Trainer, model: Task, datamodule: FrameDataModule, answers: Answers
) -> tuple[dict[str, pd.DataFrame], float]:
    """What the weights that were kept say of the test and the validation frames; and the seconds the test took."""
    began = time.perf_counter()
    trainer.test(model, datamodule, verbose=False)
    took = time.perf_counter() - began
    tables = {"test": answers.table(model, datamodule.samples)}
    trainer.validate(model, datamodule, verbose=False)
    tables["val"] = answers.table(model, datamodule.samples)
    return tables, took


def _draw(
    config: DictConfig,
    folder: Path,
    trainer: pl.Trainer,
    model: Task,
    datamodule: FrameDataModule,
    finetune: FreezeThenFineTune,
    outcome: dict[str, Any],
    predictions: pd.DataFrame,
) -> None:
    """Draws curves and predictions into the run folder, and hands them to the loggers."""
    try:
        curves = figures.curves(finetune.history, finetune.best["epoch"], model.shown[::-1])
        drawn = {"curves": figures.save(curves, folder / "curves.png")}
        drawn |= draw_predictions(folder, datamodule, outcome, predictions)
        log_figures(trainer, drawn, outcome["epochs"])
        log_hparams(trainer, model, compared_settings(config), outcome)
    finally:
        for logger in trainer.loggers:  # opened again after training; each holds a thread
            logger.finalize("finished")
