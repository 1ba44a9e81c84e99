"""A training run from configuration to results."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from fervid import figures
from fervid.callbacks import EpochSeed, FreezeThenFineTune, LastCheckpoint, OutputCollector, SigtermHandler
from fervid.callbacks.checkpoint_io import AtomicCheckpointIO
from fervid.cli.checks import check_files, check_packages, check_weights
from fervid.cli.folders import alone
from fervid.cli.job import trainer_size
from fervid.cli.limits import check_limits
from fervid.cli.mistakes import mistake
from fervid.data.datamodule import EmotionDataModule
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.models.feature_encoder import Columns
from fervid.processes.preparing import heartbeat, heartbeat_file, wait_for_first
from fervid.processes.ranks import detect_rank, ending_together
from fervid.runs.build import make_datamodule, make_model
from fervid.runs.drawing import draw_predictions
from fervid.runs.finished import finished_score
from fervid.runs.people import print_people
from fervid.runs.printing import print_split, print_summary
from fervid.runs.record import WarningCollector, plain_settings, write_manifest
from fervid.schema.predictions import write_predictions
from fervid.schema.results import write_results
from fervid.schema.same_system import RunIdentity, run_settings
from fervid.schema.weights import pretraining_sentences, seen_in_pretraining
from fervid.tasks.task import Task
from fervid.train.checks import (
    check_lengths,
    check_monitor,
    check_optimizer,
    check_single_frame,
    trainer_mistakes,
    warn_of_one_class,
)
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

    The function does not depend on global state such as Hydra's and can therefore be called from a notebook, a test or
    a worker process. It reads the environment variables that a launcher such as torchrun sets for each rank, and seeds
    the global random generators.

    Args:
        config: configuration of the command ``train``, for example from :func:`fervid.cli.compose`.
        folder: output folder of the run; created if absent.
        callbacks: callbacks in addition to those of fervid and of the configuration.
        test: whether to evaluate on the test subset. If False, the run writes only checkpoints and logged curves.
        resume: whether the folder may already contain the same run. If it is finished it is not run again, otherwise
            it resumes from its last checkpoint.

    Returns:
        The validation score (``finetune.monitor``) of the selected weights.

    Raises:
        InputError: if the configuration, the corpus or the hardware cannot be used, if another process trains in the
            folder, or if a finished run would be overwritten.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    is_first = detect_rank(**trainer_size(config)).rank == 0
    with WarningCollector() as collected, ExitStack() as stack:
        finished = finished_score(folder, config, lambda: data_fingerprint(config), resume=resume)
        if finished is None and is_first:  # on behalf of all ranks; a finished run needs no lock to be read
            stack.enter_context(alone(folder))
            # Check again: the process that held the lock until now may have finished the run.
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
    """Executes an unfinished run from its configuration to its figures; ``warnings`` is filled during the run."""
    began = time.perf_counter()
    console = Console(quiet=not is_first)
    check_limits(config)
    check_files(config)
    check_weights(config)
    check_packages(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = make_datamodule(config)
    finetune = _make_finetune(config, folder)
    collector, checkpoint_io = OutputCollector(), AtomicCheckpointIO()
    built_in = [finetune, EpochSeed(config.seed), SigtermHandler(), collector]
    last = LastCheckpoint(last_checkpoint(folder))
    trainer = make_trainer(config, folder, [*built_in, last, *_make_callbacks(config), *callbacks], checkpoint_io)
    accelerator = config.trainer.get("accelerator", "cpu")
    if accelerator == "cpu" and torch.cuda.is_available():
        log.info("this machine has a GPU: use trainer=gpu to train on it.")

    settings = plain_settings(config)
    is_distributed = trainer.world_size > 1 or not is_first
    beats = heartbeat_file(datamodule.cache_dir, run_settings(settings)) if is_distributed else None
    _prepare(datamodule, folder, console, is_first, beats)
    identity = RunIdentity.of(settings, datamodule.fingerprint)
    checkpoint_io.run = asdict(identity)
    ckpt_path = config.ckpt_path or (unfinished_checkpoint(folder, identity) if resume else None)

    model = make_model(config, datamodule.target, datamodule.feature_names)
    _fit_columns(model, datamodule)
    check_lengths(model, datamodule)
    for encoder in model.network.encoders.values():
        for sentence in pretraining_sentences(seen_in_pretraining(encoder.weights.as_dict(), datamodule.corpora)):
            log.warning("%s.", sentence)
    if datamodule.batch_size == 1:
        check_single_frame(model, finetune)
    seconds = {"prepare": time.perf_counter() - began}
    together = ending_together(trainer, next_step(folder, config.get("overrides") or []))
    threads = torch_threads(config.threads, model, datamodule.batch_size, accelerator)
    with together, trainer_mistakes(), threads:
        seconds["fit"] = _fit(trainer, model, datamodule, finetune, ckpt_path, identity)
        if not test:
            return float(finetune.best["score"])
        tables, alone, seconds["test"] = _predict(trainer, model, datamodule, finetune, collector)
    if trainer.is_global_zero:
        if isinstance(datamodule.target, ClassTarget) and "val" in tables:
            warn_of_one_class(tables["val"], sam=model.sam)
        write_predictions(folder, tables["test"], tables.get("val"))
        outcome = collect(config, trainer, model, datamodule, finetune, tables["test"], alone, warnings, seconds)
        # Written before anything is drawn or logged, so that a failing figure cannot lose the results.
        write_results(folder, outcome)
        _draw(config, folder, trainer, model, datamodule, finetune, outcome, tables["test"])
        print_summary(console, folder, outcome)
    return float(finetune.best["score"])


def data_fingerprint(config: DictConfig) -> str:
    """Returns the fingerprint of the data that a configuration selects; prepares the data if necessary.

    Raises:
        InputError: if the data are missing or cannot be used.
    """
    check_files(config)
    try:
        datamodule = make_datamodule(config)
    except HydraException as error:  # wraps the errors of the classes in the configuration
        raise mistake(error, Path()) from error
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule.fingerprint


def _prepare(datamodule: EmotionDataModule, folder: Path, console: Console, is_first: bool, beats: Path | None) -> None:
    """Prepares and splits the corpus; the first rank writes the files, the others wait for them."""
    if beats is None:
        datamodule.prepare_data()
    elif is_first:
        with heartbeat(beats):
            datamodule.prepare_data()
    else:
        wait_for_first(lambda: datamodule.is_ready, beats)
    datamodule.setup()
    if is_first:
        write_manifest(folder, datamodule)
    print_split(console, datamodule)
    if datamodule.people is not None:
        print_people(console, datamodule)


def _fit_columns(model: Task, datamodule: EmotionDataModule) -> None:
    """Standardises the columns of feature tables by the training subset."""
    encoder = model.network.encoders.get(Columns.modality)
    if isinstance(encoder, Columns):
        store, rows = datamodule.stores[Columns.modality], datamodule.input_rows(Columns.modality, "train")
        encoder.fit(np.concatenate([store.view(rows[[number]])[0] for number in range(len(rows))]))


def _make_finetune(config: DictConfig, folder: Path) -> FreezeThenFineTune:
    """Builds the training phases, and checks the monitor, the optimizer and the schedule."""
    finetune: FreezeThenFineTune = instantiate(
        config.finetune, scheduler=instantiate(config.scheduler) or None, folder=folder / "checkpoints", _convert_="all"
    )
    check_monitor(config, finetune)
    check_optimizer(config, finetune)
    return finetune


def _make_callbacks(config: DictConfig) -> list[pl.Callback]:
    """Builds the callbacks of the group ``callbacks``.

    Raises:
        InputError: if an entry is not a callback.
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
    datamodule: EmotionDataModule,
    finetune: FreezeThenFineTune,
    ckpt_path: str | Path | None,
    identity: RunIdentity,
) -> float:
    """Trains through all phases and returns the duration in seconds, including the epochs before a resumption."""
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
    trainer: pl.Trainer,
    model: Task,
    datamodule: EmotionDataModule,
    finetune: FreezeThenFineTune,
    collector: OutputCollector,
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], float]:
    """Predicts the test and validation samples with the selected weights.

    Returns:
        The predictions of ``test``, and of ``val`` unless the weights were trained on them; those of the test samples
        from each modality alone, if there are several; and the duration of the test in seconds.
    """
    began = time.perf_counter()
    trainer.test(model, datamodule, verbose=False)
    took = time.perf_counter() - began
    tables = {"test": collector.table(model, datamodule.samples)}
    modalities = model.network.modalities if model.network.can_miss else ()
    alone = {name: collector.table(model, datamodule.samples, name) for name in modalities}
    if not finetune.trains_on_validation:
        trainer.validate(model, datamodule, verbose=False)
        tables["val"] = collector.table(model, datamodule.samples)
    return tables, alone, took


def _draw(
    config: DictConfig,
    folder: Path,
    trainer: pl.Trainer,
    model: Task,
    datamodule: EmotionDataModule,
    finetune: FreezeThenFineTune,
    outcome: dict[str, Any],
    predictions: pd.DataFrame,
) -> None:
    """Draws curves and predictions into the run folder, and passes them to the loggers."""
    try:
        curves = figures.curves(finetune.history, finetune.best["epoch"], model.shown[::-1])
        drawn = {"curves": figures.save(curves, folder / "curves.png")}
        drawn |= draw_predictions(folder, datamodule, outcome, predictions)
        log_figures(trainer, drawn, outcome["epochs"])
        log_hparams(trainer, model, compared_settings(config), outcome)
    finally:
        for logger in trainer.loggers:  # reopened after training; each holds a thread
            logger.finalize("finished")
