"""Builds Lightning's Trainer for a run."""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fervid.callbacks import FreezeThenFineTune
from fervid.callbacks.checkpoint_io import AtomicCheckpointIO
from fervid.callbacks.progress import EpochLines
from fervid.callbacks.progress import ProgressBar as EpochProgressBar
from fervid.cli.job import trainer_size
from fervid.errors import InputError, first_line
from fervid.processes.ranks import count_devices, detect_rank

# The entries of conf/trainer/cpu.yaml, for a YAML file that leaves some out.
DEFAULTS: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "max_epochs": None}


def make_trainer(
    config: DictConfig, folder: Path, callbacks: list[pl.Callback], checkpoint_io: AtomicCheckpointIO
) -> pl.Trainer:
    """Builds the Trainer with the run's callbacks and logger.

    Args:
        config: configuration of the run.
        folder: run folder.
        callbacks: callbacks of the run, including a :class:`FreezeThenFineTune`.
        checkpoint_io: plugin that writes the checkpoints.

    Raises:
        InputError: if the settings cannot be used, or not on this machine.
    """
    finetune = next(callback for callback in callbacks if isinstance(callback, FreezeThenFineTune))
    options = DEFAULTS | {str(name): value for name, value in config.trainer.items()}
    if options["max_epochs"] is None:
        options["max_epochs"] = finetune.max_epochs
    uses_cuda = options["accelerator"] in ("gpu", "cuda")
    if uses_cuda:
        _check_cuda(options["devices"])
    if options.get("gradient_clip_val") and "mixed" in str(options["precision"]) and config.optimizer.get("fused"):
        raise InputError(
            f"gradients cannot be clipped with trainer.precision={options['precision']} and a fused optimizer: give "
            "optimizer.fused=false."
        )
    if uses_cuda:
        allow_tf32(str(options["precision"]))
    if options.get("deterministic"):
        options["benchmark"] = False  # the fastest algorithm differs from run to run, and with it the rounding
    if not any(isinstance(callback, ProgressBar) for callback in callbacks):  # Lightning accepts a single one
        if not sys.stdout.isatty():
            options["enable_progress_bar"] = False
            callbacks = [*callbacks, EpochLines(finetune)]
        elif options.get("enable_progress_bar", True):
            callbacks = [*callbacks, EpochProgressBar()]
    plugins: list[Any] = [checkpoint_io]
    if detect_rank(**trainer_size(config)).launcher is None:
        plugins.append(LightningEnvironment())  # keeps Lightning from detecting a launcher itself
    if options.get("strategy", "auto") in ("auto", "ddp") and _is_distributed(options):
        # Parameters of frozen stages require gradients, because later phases may train them, but receive none.
        options["strategy"] = "ddp_find_unused_parameters_true"
    try:
        return pl.Trainer(
            **options,
            callbacks=callbacks,
            logger=_logger(config, folder),
            plugins=plugins,
            default_root_dir=folder,
            num_sanity_val_steps=0,  # the scores of its partial epoch would be recorded as those of an epoch
            enable_model_summary=False,
            use_distributed_sampler=False,  # the datamodule's sampler already distributes the frames over ranks
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the trainer rejects its settings: {first_line(error)}.") from error


def _check_cuda(devices: Any) -> None:
    """Checks that this machine has the selected CUDA devices."""
    found, wanted = torch.cuda.device_count(), count_devices(devices)
    if not found:
        raise InputError("trainer=gpu needs a CUDA device and torch sees none: use trainer=cpu.")
    if wanted is not None and wanted > found:
        raise InputError(f"trainer.devices={devices} needs {wanted} CUDA devices and torch sees {found}.")


def allow_tf32(precision: str) -> None:
    """Allows TF32 for the float32 operations of mixed precision, and disables it otherwise.

    Disabling it matters in a sweep, where a float32 job may follow a mixed-precision job in the same process.
    """
    mixed = "mixed" in precision
    torch.set_float32_matmul_precision("high" if mixed else "highest")
    torch.backends.cudnn.allow_tf32 = mixed


def _is_distributed(options: dict[str, Any]) -> bool:
    """Whether the options of a Trainer select more than one device."""
    count = count_devices(options["devices"])
    if count is None:  # all available devices
        count = 1 if options["accelerator"] == "cpu" else torch.cuda.device_count()
    return count > 1 or options.get("num_nodes", 1) > 1


def _logger(config: DictConfig, folder: Path) -> Any:
    """Returns the run's logger, which writes to the run folder by default; False for no logger."""
    if "save_dir" in config.logger and config.logger.save_dir is None:
        return instantiate(config.logger, save_dir=str(folder))
    return instantiate(config.logger) or False
