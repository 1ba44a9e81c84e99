"""Exports the network of a run to ONNX or safetensors, with a model card.

Example: ``python -m fervid.export run=runs/mine format=onnx``.

All settings: ``python -m fervid.export --help``.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.folders import one_run
from fervid.cli.job import job
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="export")
def command(config: DictConfig) -> None:
    """Writes the network, an example script and the model card."""
    with job(config):
        folder = one_run(config.run)
        from rich.console import Console

        from fervid.export.exporting import export_run, print_export  # imports torch; --help should not wait for it

        formats = [str(name) for name in (config.format if isinstance(config.format, ListConfig) else [config.format])]
        target = None if config.folder is None else Path(str(config.folder)).expanduser()
        console = Console()
        with console.status(f"writing and verifying {' and '.join(formats)} ..."):
            export = export_run(folder, formats, target, trust=config.trust)
        print_export(console, export)


def main() -> None:
    """Runs the command; also as ``fervid export``."""
    run(command, "export")
