"""Draws the face regions, or the moments of clips, that a network relies on.

Methods: Grad-CAM for pictures, occlusion for clips, sounds and features.

Example: ``python -m fervid.explain run=runs/mine``.

All settings: ``python -m fervid.explain --help``.
"""

import shlex
from datetime import datetime
from pathlib import Path

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.folders import one_run
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="explain")
def command(config: DictConfig) -> None:
    """Draws heat maps of single faces, or the relevance of the moments of clips, and their mean for each emotion."""
    with job(config) as running:
        run_folder = one_run(config.run)
        if config.max_samples < 1:
            raise InputError(f"max_samples={config.max_samples} is out of range: use 1 or more.")
        if not 0.05 <= config.window <= 10:
            raise InputError(f"window={config.window} is out of range: use 0.05 to 10 seconds.")

        from rich.console import Console

        from fervid.runs.load import read_run

        opened = read_run(run_folder)
        opened.class_names  # noqa: B018  # rejects other tasks
        written = (_pictures if opened.classifies_pictures else _clips)(config, opened.folder, running.folder)
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print(f"Output: {written[0].parent}: {', '.join(path.name for path in written)}")
        if config.source is None and (opened.folder / "tensorboard").is_dir():
            console.print(f"View in TensorBoard: tensorboard --logdir {shlex.quote(str(opened.folder))}")


def _samples(config: DictConfig) -> str | list[int]:
    return list(config.samples) if isinstance(config.samples, ListConfig) else str(config.samples)


def _pictures(config: DictConfig, run_folder: Path, folder: Path) -> list[Path]:
    """Draws heat maps of test frames, or of the pictures of ``source``, for which a folder is made in ``folder``."""
    from hydra.utils import instantiate

    from fervid.explain.explanation import explain_pictures, explain_run
    from fervid.predict.predictor import Predictor

    detector = instantiate(config.detector, _convert_="all") if config.get("detector") else None
    predictor = Predictor(run_folder, detector=detector, device=config.device, trust=config.trust)
    if config.source is None:
        return explain_run(
            predictor,
            samples=_samples(config),
            max_samples=config.max_samples,
            seed=config.seed,
            cache_dir=config.cache_dir,
            root=config.root,
            trust=config.trust,
        )
    sources = list(config.source) if isinstance(config.source, ListConfig) else [config.source]
    return explain_pictures(
        predictor,
        [str(source) for source in sources],
        max_samples=config.max_samples,
        folder=folder / "explanations" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}",
    )


def _clips(config: DictConfig, run_folder: Path, folder: Path) -> list[Path]:
    """Draws which moments of test clips speak for the predictions."""
    from fervid.explain.clips import explain_clips

    if config.source is not None:
        raise InputError(
            f"source={config.source} cannot be used, since {run_folder} classifies clips, and only its own test clips "
            "can be explained: leave source out."
        )
    return explain_clips(
        run_folder,
        samples=_samples(config),
        max_samples=config.max_samples,
        window=config.window,
        seed=config.seed,
        cache_dir=config.cache_dir,
        root=config.root,
        features_path=config.features_path,
        device=str(config.device),
        trust=config.trust,
    )


def main() -> None:
    """Runs the command; also as ``fervid explain``."""
    run(command, "explain")
