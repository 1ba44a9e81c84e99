"""Compares runs in tables and figures, with intervals and paired tests.

Example: ``python -m fervid.report runs=runs``.

All settings: ``python -m fervid.report --help``.
"""

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="report")
def command(config: DictConfig) -> None:
    """Reads the runs and writes the report."""
    with job(config) as running:
        paper = config.get("paper")
        if config.runs is None and paper is None:
            raise InputError("nothing to report: give runs=<folders or globs> or paper=<name>.")
        from rich.console import Console

        from fervid.report.report import make_report  # imports pandas, which would delay --help by seconds
        from fervid.runs.trust import import_packages, trusted_packages

        import_packages(trusted_packages(config.trust))  # they may register sections for their own tasks
        make_report(
            running.folder,
            Console(),
            runs=list(config.runs) if isinstance(config.runs, ListConfig) else config.runs,
            paper=paper and paper.name,
            title=config.title,
            resamples=config.resamples,
            seed=config.seed,
        )


def main() -> None:
    """Runs the command line; ``fervid report`` calls it too."""
    run(command, "report")
