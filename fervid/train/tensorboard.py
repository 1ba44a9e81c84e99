"""TensorBoard content besides the curves: figures, warnings, and a row of hyperparameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from fervid.storage.escaping import markdown_text
from fervid.tasks.task import Task


def log_figures(trainer: pl.Trainer, drawn: dict[str, Path], epoch: int) -> None:
    """Logs PNG files to TensorBoard as images.

    Args:
        trainer: trainer with the loggers to write to.
        drawn: path of each PNG file by the name of its figure.
        epoch: step of the images.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, path in drawn.items():
                with Image.open(path, formats=["PNG"]) as picture:
                    logger.experiment.add_image(f"figures/{name}", np.asarray(picture), epoch, dataformats="HWC")


def log_hparams(trainer: pl.Trainer, model: Task, choices: dict[str, Any], results: dict[str, Any]) -> None:
    """Logs one row for TensorBoard's HPARAMS page, and the warnings as text.

    Args:
        trainer: trainer with the loggers to write to.
        model: model whose main score is shown.
        choices: hyperparameters to compare, by name.
        results: content of the run's ``results.json``.
    """
    metrics = results["metrics"]
    # More columns do not fit on the first screen.
    names = [f"{subset}{model.shown[0]}" for subset in ("val/", "test/", "test/clip_")]
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            # Separate names, since Lightning also logs these values as scalars.
            logger.log_hyperparams(
                choices,
                {f"best/{name.replace('/', '_')}": metrics[name] for name in names if name in metrics},
                step=results["best_epoch"],
            )
            layout = {score: ["Multiline", [f"train/{score}", f"val/{score}"]] for score in model.shown}
            logger.experiment.add_custom_scalars({"training and validation": layout})
            for number, warning in enumerate(results["warnings"]):
                logger.experiment.add_text("warnings", markdown_text(warning), number)
            Path(logger.log_dir, "hparams.yaml").unlink(missing_ok=True)  # Lightning wrote it empty at the start
            logger.save()
