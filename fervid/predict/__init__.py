"""Predicts the emotions of faces in pictures, videos or a camera stream.

Example: ``python -m fervid.predict run=runs/mine source=holiday.mp4``.

All settings: ``python -m fervid.predict --help``.
"""

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.folders import empty_folder, one_run
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="predict")
def command(config: DictConfig) -> None:
    """Predicts the emotions of all faces in the sources and writes them to the output folder."""
    with job(config) as running:
        _check(config)
        from fervid.predict.inputs import find_sources

        sources = list(config.source) if isinstance(config.source, ListConfig) else str(config.source)
        found = find_sources(sources, config.seconds)
        from hydra.utils import instantiate  # these imports take seconds; --help should not wait for them
        from rich.console import Console

        from fervid.predict.prediction import predict
        from fervid.predict.predictor import Predictor
        from fervid.predict.source_results import print_summary
        from fervid.predict.video import share_cores
        from fervid.processes.memory import keep_memory

        predictor = Predictor(
            one_run(config.run),
            detector=instantiate(config.detector, _convert_="all") if config.get("detector") else None,
            margin=config.margin,
            device=config.device,
            trust=config.trust,
        )
        keep_memory()
        share_cores()
        folder = empty_folder(running.folder)
        console = Console(highlight=False, soft_wrap=True, markup=False)
        results = predict(
            predictor,
            found.items,
            folder,
            console,
            frame_stride=config.frame_stride,
            faces=config.faces,
            smoothing=config.smoothing,
            annotated=config.annotate,
            left_out=found.left_out,
        )
        print_summary(results, folder, console)


def _check(config: DictConfig) -> None:
    """Checks the settings before anything is loaded."""
    one_run(config.run)
    if config.source is None or config.source == []:
        raise InputError("source is missing: give source=<picture, video, folder, glob or camera>.")
    if config.frame_stride < 1:
        raise InputError(f"frame_stride={config.frame_stride} is out of range: use 1 or more.")
    if config.faces not in ("all", "one"):
        raise InputError(f"faces={config.faces} is unknown: choose all or one.")
    if not isinstance(config.annotate, bool):
        raise InputError(f"annotate={config.annotate} is not a truth value: use true or false.")
    for name in ("margin", "seconds"):
        value = config[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise InputError(f"{name}={value} is out of range: use a number of at least 0, or null.")


def main() -> None:
    """Runs the command; also as ``fervid predict``."""
    run(command, "predict")
