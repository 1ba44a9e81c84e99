"""Trains and records a classical baseline of faces or sounds.

Example: ``python -m fervid.baseline dataset=ised dataset.root=ISED``, or with sounds
``python -m fervid.baseline features=log_mel dataset=ravdess dataset.root=RAVDESS``.

It uses the same inputs and splits as ``fervid.train`` and writes a run folder that ``fervid.report`` compares with
those of networks.

All settings: ``python -m fervid.baseline --help``.
"""

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="baseline")
def command(config: DictConfig) -> float:
    """Fits the baseline on the training subset and records its predictions on the others.

    Returns:
        The validation UAR.
    """
    with job(config) as running:
        from fervid.baseline.baseline import baseline  # imports torch, which would delay --help by seconds

        return baseline(config, running.folder, resume=running.is_sweep)


def main() -> None:
    """Runs the command line; ``fervid baseline`` calls it too."""
    run(command, "baseline")
