"""A training run, top to bottom."""

import copy
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console

from fervid.callbacks import EpochSeed, FreezeThenFineTune, LastCheckpoint, OneThreadIfSmall, OwnSigterm, Predictions
from fervid.callbacks.checkpoint_io import AtomicCheckpointIO
from fervid.callbacks.progress import EpochLines, ProgressBar
from fervid.cli.command_line import trainer_size
from fervid.cli.overrides import printed_command
from fervid.models.weight_files import read_checkpoint
from fervid.processes.memory import keep_memory
from fervid.processes.ranks import count_devices, ending_together, find_place, take_place
from fervid.report.systems import ASIDE
from fervid.runs import results
from fervid.runs.build import make_datamodule, make_model
from fervid.schema.atomic import write_csv
from fervid.schema.errors import InputError, first_line
from fervid.tasks.classification import EmotionClassifier

log = logging.getLogger(__name__)


def train(config: DictConfig, callbacks: Sequence[pl.Callback] = (), *, test: bool = True) -> float:
    """Trains, tests and records; everything it leaves lies in Hydra's run folder.

    A job of a sweep that was finished before is not run again; one that was begun goes on from its last checkpoint.

    Args:
        config: what ``conf/train.yaml`` composes.
        callbacks: others than a run's own.
        test: whether to look at the test side at all; without it nothing but checkpoints and curves is left.

    Returns:
        The validation score, ``finetune.monitor``, of the weights that were kept.

    Raises:
        InputError: if something in the configuration, the corpus or the machine stands against it.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    last = LastCheckpoint(folder / "checkpoints" / "last.ckpt")
    try:
        return _train(config, folder, last, callbacks, test)
    except (KeyboardInterrupt, SystemExit) as interrupt:  # Lightning makes the second of the first
        if str(interrupt) and isinstance(interrupt, KeyboardInterrupt):
            raise  # it says how to resume
        _say_how_to_resume(folder, last)
        sys.exit(1)


def _train(
    config: DictConfig, folder: Path, last: LastCheckpoint, callbacks: Sequence[pl.Callback], test: bool
) -> float:
    began = time.perf_counter()
    keep_memory()
    first = take_place(**trainer_size(config)).rank == 0
    console = Console(quiet=not first)
    said = results.listen()
    logging.getLogger("fervid").setLevel(logging.INFO if first else logging.ERROR)
    _quieten_libraries()
    finished = results.finished_before(folder, config)
    if finished is not None:
        return finished
    ckpt_path = config.ckpt_path or _begun_before(folder, config)

    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = make_datamodule(config)
    finetune: FreezeThenFineTune = instantiate(
        config.finetune, scheduler=instantiate(config.scheduler) or None, folder=folder / "checkpoints", _convert_="all"
    )
    known = [f"{side}/{score}" for side in ("val", "train") for score in ("uar", "accuracy", "f1", "loss")]
    if finetune.monitor not in known:
        raise InputError(f"finetune.monitor={finetune.monitor} is not logged: choose one of {', '.join(known)}.")
    _try_optimizer(config, finetune)
    predictions = Predictions()
    own = [finetune, EpochSeed(config.seed), OneThreadIfSmall(), OwnSigterm(), predictions, last]
    trainer = make_trainer(config, folder, [*own, *callbacks])
    if config.trainer.accelerator == "cpu" and torch.cuda.is_available():
        log.info("this machine has a GPU: trainer=gpu trains on it.")

    datamodule.prepare_data()
    datamodule.setup()
    if first:
        results.write_manifest(folder, datamodule)
    results.print_split(console, datamodule)

    model = make_model(config, datamodule.class_names, datamodule.class_counts)
    if datamodule.batch_size == 1:
        _try_one_frame(model, finetune)
    prepared = time.perf_counter()

    with ending_together(trainer, partial(_next_step, folder, last)), _refusing():
        trainer.fit(model, datamodule, ckpt_path=_checkpoint(ckpt_path, model), weights_only=True)
        fitted = time.perf_counter()
        if not finetune.history:
            raise InputError(
                "training ended before its first epoch was finished: give a larger trainer.max_time or max_steps, or "
                "leave them out."
            )
        if not test:
            return float(finetune.best["score"])
        trainer.test(model, datamodule, verbose=False)
        tested = time.perf_counter()
        table = predictions.table(datamodule.manifest, datamodule.class_names)
        trainer.validate(model, datamodule, verbose=False)
    if not trainer.is_global_zero:
        return float(finetune.best["score"])

    write_csv(folder / "predictions.csv", table)
    write_csv(folder / "predictions_val.csv", predictions.table(datamodule.manifest, datamodule.class_names))
    # A run that was gone on with has earlier epochs behind it.
    fit = max(fitted - prepared, sum(row["seconds"] for row in finetune.history))
    seconds = {"prepare": prepared - began, "fit": fit, "test": tested - fitted}
    outcome = results.collect(config, trainer, model, datamodule, finetune, table, said.sentences, seconds)
    # Before anything is drawn or logged: no figure can lose what was learned.
    results.write_json(folder / "results.json", outcome)
    try:
        results.draw(folder, trainer, datamodule, finetune, outcome, table)
        results.log_hparams(trainer, _choices(config), outcome)
    finally:
        for logger in trainer.loggers:  # opened again after training; each holds a thread
            logger.finalize("finished")
    results.print_summary(console, folder, outcome)

    return float(finetune.best["score"])


def _try_optimizer(config: DictConfig, finetune: FreezeThenFineTune) -> None:
    """Refuses an optimizer or a schedule that does not take its settings, before anything is prepared."""
    try:
        optimizer = instantiate(config.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the optimizer does not take its settings: {first_line(error)}.") from error
    finetune.make_schedule(optimizer)


@torch.no_grad()
def _try_one_frame(model: EmotionClassifier, finetune: FreezeThenFineTune) -> None:
    """Refuses batches of one frame where BatchNorm, in one of the phases, would see a single value a channel."""
    size = model.backbone.image_size
    for phase in finetune.phases:
        tried = copy.deepcopy(model)  # BatchNorm keeps what it sees
        tried.learn_from(tried.backbone.stage_number(phase.first_stage))
        tried.train()
        try:
            with torch.random.fork_rng():
                tried(torch.zeros(1, 3, size, size))
        except ValueError as error:
            raise InputError(
                f"dataset.batch_size=1 has no statistics for BatchNorm in phase {phase.name!r}: give 2 or more, or "
                "backbone.freeze_batchnorm=true."
            ) from error


@contextmanager
def _refusing() -> Iterator[None]:
    """Around training: some settings of the Trainer are looked at only when it begins."""
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(f"the trainer does not take its settings: {first_line(error)}.") from error


def make_trainer(config: DictConfig, folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's Trainer with the run's callbacks and logger."""
    finetune = next(callback for callback in callbacks if isinstance(callback, FreezeThenFineTune))
    options = {str(name): value for name, value in config.trainer.items()}
    if options["max_epochs"] is None:
        options["max_epochs"] = finetune.max_epochs
    if _in_a_sweep() and (options["devices"] != 1 or options.get("num_nodes", 1) != 1):
        raise InputError(
            f"the jobs of a sweep share one process and cannot use trainer.devices={options['devices']}: give 1, or "
            "start the runs one by one."
        )
    if options["accelerator"] == "gpu" and not torch.cuda.is_available():
        raise InputError("trainer=gpu needs a CUDA device and torch sees none: use trainer=cpu.")
    if options.get("gradient_clip_val") and "mixed" in str(options["precision"]) and config.optimizer.get("fused"):
        raise InputError(
            f"gradients cannot be clipped with trainer.precision={options['precision']} and a fused optimizer: give "
            "optimizer.fused=false."
        )
    if options["accelerator"] == "gpu":
        _allow_tf32(str(options["precision"]))
    if not torch.cuda.is_available():
        # Else torch asks the driver anew at every step of an optimizer: 0.3 ms.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    if not sys.stdout.isatty():
        options["enable_progress_bar"] = False
        callbacks = [*callbacks, EpochLines(finetune)]
    elif options.get("enable_progress_bar", True):
        callbacks = [*callbacks, ProgressBar()]
    plugins: list[Any] = [AtomicCheckpointIO(results.what_matters(config))]
    if find_place(**trainer_size(config)).launcher is None:
        plugins.append(LightningEnvironment())  # Lightning would look for traces of a launcher
    if options.get("strategy", "auto") in ("auto", "ddp") and _several_processes(options):
        # Parameters of frozen stages require gradients, for later phases, and get none.
        options["strategy"] = "ddp_find_unused_parameters_true"
    try:
        return pl.Trainer(
            **options,
            callbacks=callbacks,
            logger=_logger(config),
            plugins=plugins,
            default_root_dir=folder,
            num_sanity_val_steps=0,  # a partial epoch would count as one
            enable_model_summary=False,
            use_distributed_sampler=False,  # the datamodule's own sampler shares the frames out
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the trainer does not take its settings: {first_line(error)}.") from error


def _several_processes(options: dict[str, Any]) -> bool:
    """Whether the settings of a Trainer mean more than one device."""
    count = count_devices(options["devices"])
    if count is None:  # all there are
        count = 1 if options["accelerator"] == "cpu" else torch.cuda.device_count()
    return count > 1 or options.get("num_nodes", 1) > 1


def _allow_tf32(precision: str) -> None:
    """TF32 for what mixed precision leaves in float32; who asks for float32 gets it, also after such a job."""
    mixed = "mixed" in precision
    torch.set_float32_matmul_precision("high" if mixed else "highest")
    torch.backends.cudnn.allow_tf32 = mixed


def _logger(config: DictConfig) -> Any:
    """The run's logger; on TensorBoard a job of a sweep bears the name of its settings, not only a number."""
    if not str(config.logger.get("_target_")).endswith("TensorBoardLogger") or not _in_a_sweep():
        return instantiate(config.logger) or False
    words = ",".join(f"{name.split('.')[-1]}={value}" for name, value in _told(config).items())
    return instantiate(config.logger, sub_dir=re.sub(r"[^\w=.,+-]+", "_", words)[:100])


def _in_a_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def _quieten_libraries() -> None:
    """Leaves out what Lightning says of its own working; what concerns the user fervid says itself."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",  # measured: on a CPU the network is the slow part
        ".*in eval mode at the start of training.*",  # the frozen prefix is meant to be
        ".*smaller than the logging interval.*",  # nothing is logged by the step
        ".*sync_dist=True.*",  # every rank validates and tests on all frames, and logs the same
        ".*isinstance.treespec.*",  # Lightning 2.6 with torch 2.9 and later
        ".*Checkpoint directory.*exists and is not empty.*",  # a resumed run goes on in its folder
    ):
        warnings.filterwarnings("ignore", text)


def _begun_before(folder: Path, config: DictConfig) -> str | None:
    """The last checkpoint of a sweep's job that was not finished; clears away what cannot be gone on from."""
    last = folder / "checkpoints" / "last.ckpt"
    if not _in_a_sweep():
        return None
    try:
        if read_checkpoint(last)["settings"] == results.what_matters(config):
            log.info("job %s was begun before: it goes on.", HydraConfig.get().job.num)
            return str(last)
    except (InputError, KeyError, TypeError) as error:
        log.debug("%s: %s", last, error)
    for left in ("checkpoints", "tensorboard"):
        shutil.rmtree(folder / left, ignore_errors=True)
    return None


def _checkpoint(path: str | None, model: EmotionClassifier) -> str | None:
    if path is None:
        return None
    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise InputError(f"ckpt_path={path} is not a file: give the last.ckpt of a run.")
    try:
        state = read_checkpoint(Path(path))
    except InputError as error:
        raise InputError(f"ckpt_path={path} cannot be read: {error}.") from error
    if not isinstance(state, dict) or "optimizer_states" not in state:
        raise InputError(f"ckpt_path={path} has weights only and cannot be gone on from: give the last.ckpt of a run.")
    shapes, own = ({name: value.shape for name, value in s.items()} for s in (state["state_dict"], model.state_dict()))
    if shapes != own:
        raise InputError(
            f"ckpt_path={path} is of another network or other emotions: give the settings of its run again."
        )
    return path


def _say_how_to_resume(folder: Path, last: LastCheckpoint) -> None:
    """After an interruption; the first process of a run speaks for all."""
    if _in_a_sweep():
        log.warning("interrupted: run the same command again to resume.")
    elif last.path.exists():
        log.warning("interrupted; %sresume with", f"{last.epochs} finished epochs are kept: " if last.epochs else "")
        if log.isEnabledFor(logging.WARNING):
            print(_resume_command(folder, last.path))  # not through the logger, which breaks lines
    else:
        log.warning("interrupted before the first epoch was finished: run the same command again.")


def _next_step(folder: Path, last: LastCheckpoint) -> str:
    """What to do about a run that failed for no fault of its own."""
    if last.path.exists():
        return f"resume with {_resume_command(folder, last.path)}"
    return "run the same command again."


def _resume_command(folder: Path, last: Path) -> str:
    words = [word for word in HydraConfig.get().overrides.task if not word.startswith("ckpt_path=")]
    return printed_command("fervid.train", words, {"hydra.run.dir": folder, "ckpt_path": last})


def _told(config: DictConfig) -> dict[str, Any]:
    """The settings of the command line that change what is learned, by name."""
    told = {}
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        name = override.key_or_group
        if not name.startswith((*ASIDE, "trainer.enable", "logger", "hydra")):
            value = results.choices().get(name) or OmegaConf.select(config, name)
            told[name] = value if isinstance(value, int | float) else str(value)
    return told


def _choices(config: DictConfig) -> dict[str, Any]:
    """What HPARAMS compares. It shows five columns, in the order of their names: what was told, not all there is."""
    chosen = results.choices()
    groups = [group for group in ("backbone", "dataset", "optimizer") if group in chosen]  # ~dataset removes one
    return {group: chosen[group] for group in groups} | _told(config)
