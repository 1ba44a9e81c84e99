"""Asks stored runs again: ``python -m fervid.evaluate run=runs/mine dataset=enterface dataset.root=eNTERFACE``.

All that can be set: ``python -m fervid.evaluate --help``.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.command_line import CONFIG_FOLDER, job, run
from fervid.errors import InputError


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="evaluate")
def command(config: DictConfig) -> None:
    """Shows each run the frames, writes down what it says of them, and reports."""
    with job(config):
        if config.run is None:
            raise InputError("nothing to evaluate: give run=<folder of a finished run>, or a list of them.")
        from hydra.core.hydra_config import HydraConfig
        from rich.console import Console

        from fervid.inference.evaluation import evaluate  # torch and all that: seconds that --help should not wait for

        evaluate(
            Path(HydraConfig.get().runtime.output_dir),
            Console(),
            # The command line makes run=3 a number.
            folders=[str(each) for each in (config.run if isinstance(config.run, ListConfig) else [config.run])],
            config=config,
        )


def main() -> None:
    """The way in, also as ``fervid-evaluate``."""
    run(command, "evaluate")


if __name__ == "__main__":
    main()
