"""Evaluates stored runs on their own test subset or on another corpus.

Example: ``python -m fervid.evaluate run=runs/mine dataset=enterface dataset.root=eNTERFACE``.

All settings: ``python -m fervid.evaluate --help``.
"""

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.folders import empty_folder, run_folder
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="evaluate")
def command(config: DictConfig) -> None:
    """Predicts the test frames with each run, combines the predictions and writes a report."""
    with job(config) as running:
        runs = config.run if isinstance(config.run, ListConfig) else [] if config.run is None else [config.run]
        if not runs:
            tables = "" if config.posteriors is None else f"posteriors={config.posteriors} has no labels of its own, "
            raise InputError(f"nothing to evaluate: {tables}give run=<folder of a finished run>, or a list of them.")
        folders = [run_folder(each) for each in runs]
        from rich.console import Console

        from fervid.evaluate.evaluation import evaluate  # imports torch, which would delay --help by seconds

        evaluate(
            empty_folder(running.folder),
            Console(),
            folders=[str(folder) for folder in folders],
            config=config,
        )


def main() -> None:
    """Runs the command line; ``fervid evaluate`` calls it too."""
    run(command, "evaluate")
