"""Lightning's Trainer as a run needs it."""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fervid.callbacks import FreezeThenFineTune
from fervid.callbacks.checkpoint_io import AtomicCheckpointIO
from fervid.callbacks.progress import EpochLines, ProgressBar
from fervid.cli.job import trainer_size
from fervid.errors import InputError, first_line
from fervid.processes.ranks import count_devices, find_place


def make_trainer(
    config: DictConfig, folder: Path, callbacks: list[pl.Callback], checkpoint_io: AtomicCheckpointIO
) -> pl.Trainer:
    """Lightning's Trainer with the run's callbacks and logger.

    Args:
        config: of the run.
        folder: where the run lies.
        callbacks: among them a :class:`FreezeThenFineTune`.
        checkpoint_io: writes the checkpoints.

    Raises:
        InputError: if the settings cannot be used, or not on this machine.
    """
    finetune = next(callback for callback in callbacks if isinstance(callback, FreezeThenFineTune))
    options = {str(name): value for name, value in config.trainer.items()}
    if options["max_epochs"] is None:
        options["max_epochs"] = finetune.max_epochs
    if options["accelerator"] == "gpu" and not torch.cuda.is_available():
        raise InputError("trainer=gpu needs a CUDA device and torch sees none: use trainer=cpu.")
    if options.get("gradient_clip_val") and "mixed" in str(options["precision"]) and config.optimizer.get("fused"):
        raise InputError(
            f"gradients cannot be clipped with trainer.precision={options['precision']} and a fused optimizer: give "
            "optimizer.fused=false."
        )
    if options["accelerator"] == "gpu":
        allow_tf32(str(options["precision"]))
    if not sys.stdout.isatty():
        options["enable_progress_bar"] = False
        callbacks = [*callbacks, EpochLines(finetune)]
    elif options.get("enable_progress_bar", True):
        callbacks = [*callbacks, ProgressBar()]
    plugins: list[Any] = [checkpoint_io]
    if find_place(**trainer_size(config)).launcher is None:
        plugins.append(LightningEnvironment())  # Lightning would look for traces of a launcher
    if options.get("strategy", "auto") in ("auto", "ddp") and _several_processes(options):
        # Parameters of frozen stages require gradients, for later phases, and get none.
        options["strategy"] = "ddp_find_unused_parameters_true"
    try:
        return pl.Trainer(
            **options,
            callbacks=callbacks,
            logger=_logger(config, folder),
            plugins=plugins,
            default_root_dir=folder,
            num_sanity_val_steps=0,  # a partial epoch would count as one
            enable_model_summary=False,
            use_distributed_sampler=False,  # the datamodule's own sampler shares the frames out
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the trainer does not take its settings: {first_line(error)}.") from error


def allow_tf32(precision: str) -> None:
    """TF32 for what mixed precision leaves in float32; who asks for float32 gets it, also after such a job."""
    mixed = "mixed" in precision
    torch.set_float32_matmul_precision("high" if mixed else "highest")
    torch.backends.cudnn.allow_tf32 = mixed


def _several_processes(options: dict[str, Any]) -> bool:
    """Whether the settings of a Trainer mean more than one device."""
    count = count_devices(options["devices"])
    if count is None:  # all there are
        count = 1 if options["accelerator"] == "cpu" else torch.cuda.device_count()
    return count > 1 or options.get("num_nodes", 1) > 1


def _logger(config: DictConfig, folder: Path) -> Any:
    """The run's logger, which writes to the run folder unless it is told otherwise; False for none."""
    if "save_dir" in config.logger and config.logger.save_dir is None:
        return instantiate(config.logger, save_dir=str(folder))
    return instantiate(config.logger) or False
