"""How far a training is: a bar on a terminal, else a line an epoch."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, RichProgressBar

from fervid.callbacks.finetune import FreezeThenFineTune
from fervid.tasks.task import Task


class ProgressBar(RichProgressBar):
    """Moves ten times a second, not at every step: a small network's steps are shorter than a look at the screen."""

    moved = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        now = time.perf_counter()
        if now - self.moved > 0.1 or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.moved = now
            super().on_train_batch_end(trainer, pl_module, *args)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # the last letters of the logger's folder
        return metrics

    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning counts from 0; tables and figures count from 1.
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))


class EpochLines(Checkpoint):
    """Prints a line after each epoch, for logs of clusters and pipes, where no bar can move.

    It writes no checkpoint: Lightning calls callbacks of this kind when the scores of an epoch are there. It must come
    after ``finetune``.

    Args:
        finetune: whose history holds the scores of each epoch.
    """

    def __init__(self, finetune: FreezeThenFineTune):
        self.finetune = finetune

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Task) -> None:  # type: ignore[override]
        if not trainer.is_global_zero:
            return
        row, last = self.finetune.history[-1], trainer.max_epochs or 0
        number = row["epoch"]
        parts = [f"epoch {number}/{last}", f"phase {row['phase']}"]
        for subset in ("train", "val"):
            if f"{subset}/loss" in row:
                score = pl_module.shown[0]
                reached = row[f"{subset}/{score}"]
                told = f"UAR {reached:.1%}" if score == "uar" else f"{score} {reached:.4f}"
                parts.append(f"{subset} loss {row[f'{subset}/loss']:.4f}, {told}")
        parts.append(f"{row['seconds']:.1f} s")
        if number < last:  # fewer where a phase runs out of patience
            parts.append(f"at most {_duration((last - number) * row['seconds'])} left")
        print("; ".join(parts), flush=True)  # not through the logger, which breaks lines


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
