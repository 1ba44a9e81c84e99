"""Training progress: a progress bar in a terminal, otherwise one line per epoch."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, RichProgressBar

from fervid.callbacks.finetune import FreezeThenFineTune
from fervid.tasks.task import Task


class ProgressBar(RichProgressBar):
    """Refreshes at most ten times a second, since an update takes longer than a step of a small network."""

    moved = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        now = time.perf_counter()
        if now - self.moved > 0.1 or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.moved = now
            super().on_train_batch_end(trainer, pl_module, *args)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # the end of the logger's folder name, which tells the user nothing
        return metrics

    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning counts epochs from 0, fervid's tables and figures from 1.
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))


class EpochLines(Checkpoint):
    """Prints one line per epoch, for cluster logs and pipes, where a progress bar cannot be shown.

    It is a :class:`Checkpoint` although it writes none, since Lightning calls such callbacks after the scores of an
    epoch have been logged. It must come after ``finetune`` in the list of callbacks.

    Args:
        finetune: callback whose history contains the scores of each epoch.
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
                scores = [f"{subset} loss {row[f'{subset}/loss']:.4f}"]
                if (score := pl_module.shown[0]) != "loss":
                    value = row[f"{subset}/{score}"]
                    scores.append(f"UAR {value:.1%}" if score == "uar" else f"{score} {value:.4f}")
                parts.append(", ".join(scores))
        parts.append(f"{row['seconds']:.1f} s")
        if number < last:  # "at most", since a phase may stop early
            parts.append(f"at most {_duration((last - number) * row['seconds'])} left")
        print("; ".join(parts), flush=True)  # the logger would break the line


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
