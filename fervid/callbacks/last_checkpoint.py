"""Checkpoints for resuming, written as often as their cost allows."""

import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

MAX_UNTHROTTLED_SECONDS = 0.02  # checkpoints that take less time are written after every epoch
MIN_INTERVAL_FACTOR = 40  # minimum interval between slower checkpoints, in multiples of the last writing time


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt``, from which a run can be resumed, after an epoch.

    Writing the checkpoint of a large network takes seconds, as long as a short epoch. Such checkpoints are not written
    after every epoch, but always after the first and the last one. A killed run loses only the training since its
    last checkpoint.

    Args:
        path: path of the checkpoint.

    Attributes:
        epochs: number of finished epochs in the checkpoint.
    """

    def __init__(self, path: Path):
        self.path, self.epochs = path, 0
        self._writing_seconds, self._written_at = 0.0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs = trainer.current_epoch  # a resumed run starts from the epochs of its checkpoint
        self._writing_seconds = 0.0  # so that the first checkpoint is always written, and timed

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        finished = trainer.current_epoch + 1
        elapsed = time.perf_counter() - self._written_at
        due = self._writing_seconds < MAX_UNTHROTTLED_SECONDS or elapsed > MIN_INTERVAL_FACTOR * self._writing_seconds
        ends = trainer.should_stop or finished == trainer.max_epochs or 0 <= trainer.max_steps <= trainer.global_step
        # The ranks measure different times but must save together, or they would wait forever.
        if trainer.strategy.reduce_boolean_decision(due or ends, all=False):
            began = time.perf_counter()
            trainer.save_checkpoint(self.path)
            self._written_at = time.perf_counter()
            self._writing_seconds, self.epochs = self._written_at - began, finished
