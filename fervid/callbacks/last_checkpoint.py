"""Checkpoints to go on from, as many as cost little."""

import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

QUICK = 0.02  # seconds: what takes less is written after every epoch
SHARE = 40  # else training goes on for so many times as long as the last one took; the first and the last are extra


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after epochs, to go on from.

    That of a large network takes seconds, as long as a short epoch: then not every epoch is written, but always the
    first and the last, and what a killed run loses is no more than training from the checkpoint before.

    Args:
        path: the file.

    Attributes:
        epochs: finished epochs that the file holds.
    """

    def __init__(self, path: Path):
        self.path, self.epochs = path, 0
        self._took, self._written = 0.0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs = trainer.current_epoch  # of a resumed run the file has those before
        self._took = 0.0  # the first one is written, and timed

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        finished = trainer.current_epoch + 1
        due = self._took < QUICK or time.perf_counter() - self._written > SHARE * self._took
        ends = trainer.should_stop or finished == trainer.max_epochs or 0 <= trainer.max_steps <= trainer.global_step
        # Ranks have clocks of their own, and write together or wait for ever.
        if trainer.strategy.reduce_boolean_decision(due or ends, all=False):
            began = time.perf_counter()
            trainer.save_checkpoint(self.path)
            self._written = time.perf_counter()
            self._took, self.epochs = self._written - began, finished
