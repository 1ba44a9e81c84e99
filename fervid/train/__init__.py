"""Trains, shows and records one emotion recogniser: ``python -m fervid.train backbone=vgg16 optimizer=sgd``.

All that can be set: ``python -m fervid.train --help``.
"""

from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fervid.cli.command_line import alone, importing, job, run, trainer_size
from fervid.processes.ranks import find_place
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="train")
def command(config: DictConfig) -> float:
    """Trains what the configuration describes.

    Returns:
        The best validation score, ``finetune.monitor``: what a sweep maximises.
    """
    # The first process of a run on several devices holds the folder for all.
    first = find_place(**trainer_size(config)).rank == 0
    with job(config), alone(Path(HydraConfig.get().runtime.output_dir)) if first else nullcontext():
        with importing():
            from fervid.train.training import train  # torch and all that: seconds that --help should not wait for

        return train(config)


def main() -> None:
    """The way in, also as ``fervid-train``."""
    run(command, "train")
