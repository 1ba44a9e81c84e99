"""What TensorBoard shows of a run besides its curves: figures, warnings, and a row of hyper-parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from fervid.storage.escaping import markdown_text
from fervid.tasks.task import Task


def log_figures(trainer: pl.Trainer, drawn: dict[str, Path], epoch: int) -> None:
    """Puts PNG files on TensorBoard.

    Args:
        trainer: whose loggers take them.
        drawn: the files by their names.
        epoch: the step at which they are shown.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, path in drawn.items():
                with Image.open(path, formats=["PNG"]) as picture:
                    logger.experiment.add_image(f"figures/{name}", np.asarray(picture), epoch, dataformats="HWC")


def log_hparams(trainer: pl.Trainer, model: Task, choices: dict[str, Any], results: dict[str, Any]) -> None:
    """One row on TensorBoard's HPARAMS page, and the warnings as text.

    Args:
        trainer: whose loggers take them.
        model: whose scores are shown.
        choices: what the page compares, by name.
        results: the run's ``results.json``.
    """
    kept = results["metrics"]
    # More do not fit on the first screen.
    wanted = [f"{subset}{model.shown[0]}" for subset in ("val/", "test/", "test/clip_")]
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            # Names of their own: Lightning logs them as scalars too.
            logger.log_hyperparams(
                choices,
                {f"best/{name.replace('/', '_')}": kept[name] for name in wanted if name in kept},
                step=results["best_epoch"],
            )
            layout = {score: ["Multiline", [f"train/{score}", f"val/{score}"]] for score in model.shown}
            logger.experiment.add_custom_scalars({"training and validation": layout})
            for number, warning in enumerate(results["warnings"]):
                logger.experiment.add_text("warnings", markdown_text(warning), number)
            Path(logger.log_dir, "hparams.yaml").unlink(missing_ok=True)  # written empty when training began
            logger.save()
