"""Draws heat maps of the face regions that a network relies on (Grad-CAM).

Example: ``python -m fervid.explain run=runs/mine``.

All settings: ``python -m fervid.explain --help``.
"""

import shlex
from datetime import datetime

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.folders import one_run
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="explain")
def command(config: DictConfig) -> None:
    """Draws heat maps of single faces and the mean heat map of each emotion."""
    with job(config) as running:
        run_folder = one_run(config.run)
        if config.max_faces < 1:
            raise InputError(f"max_faces={config.max_faces} is out of range: use 1 or more.")

        from hydra.utils import instantiate
        from rich.console import Console

        from fervid.explain.explanation import explain_pictures, explain_run
        from fervid.predict.predictor import Predictor

        detector = instantiate(config.detector, _convert_="all") if config.get("detector") else None
        predictor = Predictor(run_folder, detector=detector, device=config.device, trust=config.trust)
        if config.source is not None:
            sources = list(config.source) if isinstance(config.source, ListConfig) else [config.source]
            explanations = running.folder / "explanations"
            written = explain_pictures(
                predictor,
                [str(source) for source in sources],
                max_faces=config.max_faces,
                folder=explanations / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}",
            )
        else:
            written = explain_run(
                predictor,
                frames=list(config.frames) if isinstance(config.frames, ListConfig) else str(config.frames),
                max_faces=config.max_faces,
                seed=config.seed,
                cache_dir=config.cache_dir,
                root=config.root,
                trust=config.trust,
            )
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print(f"Output: {written[0].parent}: {', '.join(path.name for path in written)}")
        if config.source is None and (predictor.folder / "tensorboard").is_dir():
            console.print(f"View in TensorBoard: tensorboard --logdir {shlex.quote(str(predictor.folder))}")


def main() -> None:
    """Runs the command; also as ``fervid explain``."""
    run(command, "explain")
