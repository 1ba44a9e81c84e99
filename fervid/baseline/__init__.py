"""Trains and records the classical baseline: ``python -m fervid.baseline dataset=ised dataset.root=...``.

Local Gabor binary patterns, PCA and LDA, on the faces and splits that ``fervid.train`` sees; it leaves a run folder
that ``fervid.report`` lays beside those of networks.

All that can be set: ``python -m fervid.baseline --help``.
"""

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="baseline")
def command(config: DictConfig) -> float:
    """Fits the baseline on the training side and records what it says of the others.

    Returns:
        The validation UAR.
    """
    with job(config) as running:
        from fervid.baseline.baseline import baseline  # torch and all that: seconds that --help should not wait for

        return baseline(config, running.folder, resume=running.is_sweep)


def main() -> None:
    """The way in, also as ``fervid-baseline``."""
    run(command, "baseline")
