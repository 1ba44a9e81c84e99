"""Trains a network, evaluates it and records the run.

Example: ``python -m fervid.train backbone=vgg16 optimizer=sgd``.

All settings: ``python -m fervid.train --help``.
"""

import logging
import re
import sys

import hydra
from omegaconf import DictConfig, open_dict

from fervid.cli.command_line import run
from fervid.cli.imports import importing
from fervid.cli.job import Job, job, trainer_size
from fervid.cli.overrides import overridden_settings
from fervid.errors import InputError
from fervid.processes.ranks import detect_rank
from fervid.schema.config_folder import CONFIG_FOLDER

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="train")
def command(config: DictConfig) -> float:
    """Trains the network that the configuration describes.

    Returns:
        The best validation score (``finetune.monitor``), which a sweep maximises.
    """
    with job(config) as running:
        if running.is_sweep:
            _check_devices(config)
            _name_by_settings(config)
        return _train(config, running)


def _train(config: DictConfig, running: Job) -> float:
    with importing():  # torch takes seconds to import, which --help need not wait for
        from fervid.train import training
        from fervid.train.process_setup import set_up_process
        from fervid.train.resuming import print_how_to_resume

    set_up_process(verbose=detect_rank(**trainer_size(config)).rank == 0)
    try:
        return training.train(config, running.folder, resume=running.is_sweep)
    except (KeyboardInterrupt, SystemExit) as interrupt:  # Lightning turns a KeyboardInterrupt into SystemExit
        if str(interrupt) and isinstance(interrupt, KeyboardInterrupt):
            raise  # its message already explains how to resume
        if running.is_sweep:
            log.warning("interrupted: run the same command again to resume.")
        else:
            print_how_to_resume(running.folder, running.overrides)
        sys.exit(1)


def _check_devices(config: DictConfig) -> None:
    """Raises an InputError if the jobs of a sweep need several processes."""
    devices = config.trainer.get("devices", 1)
    if devices != 1 or config.trainer.get("num_nodes", 1) != 1:
        raise InputError(
            f"the jobs of a sweep share one process and cannot use trainer.devices={devices}: give 1, or "
            "start the runs one by one."
        )


def _name_by_settings(config: DictConfig) -> None:
    """Labels a job of a sweep on TensorBoard with its settings, not only with its number."""
    if str(config.logger.get("_target_")).endswith("TensorBoardLogger"):
        words = ",".join(f"{name.split('.')[-1]}={value}" for name, value in overridden_settings(config).items())
        with open_dict(config):
            config.logger.sub_dir = re.sub(r"[^\w=.,+-]+", "_", words)[:100]


def main() -> None:
    """Runs the command; also as ``fervid train``."""
    run(command, "train")
