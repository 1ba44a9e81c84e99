"""Checkpoints that are whole or not there, and as many as cost little."""

import io
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

QUICK = 0.25  # seconds: what takes less is written after every epoch
SHARE = 40  # else training goes on for so many times as long as the last one took
DISK = 5e8  # bytes a second, until one has been timed


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after epochs, to go on from.

    That of a large network takes seconds, as long as a short epoch: then not every epoch is written, but always the
    last, and what a killed run loses is no more than training from the checkpoint before.

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
        # With the best weights and the two moments that most optimizers keep.
        self._took = 4 * sum(parameter.nbytes for parameter in pl_module.parameters()) / DISK
        self._written = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        finished = trainer.current_epoch + 1
        due = self._took < QUICK or time.perf_counter() - self._written > SHARE * self._took
        if due or trainer.should_stop or finished == trainer.max_epochs:
            began = time.perf_counter()
            trainer.save_checkpoint(self.path)
            self._written = time.perf_counter()
            self._took, self.epochs = self._written - began, finished


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then puts it there in one step.

    Lightning's own way writes to the temporary folder and copies: a disk that fills up, or a kill, while it copies
    over ``last.ckpt`` leaves half a file and nothing to go on from.

    Args:
        settings: of the run, plain containers, to be kept under the same name in every checkpoint.
    """

    def __init__(self, settings: dict[str, Any] | None = None):
        super().__init__()
        self.settings = settings

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves plain containers and tensors under ``path``.

        Raises:
            OSError: if it cannot be written; what stood there before still does.
        """
        path = Path(path)
        checkpoint = checkpoint if self.settings is None else {**checkpoint, "settings": self.settings}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save(checkpoint, buffer)
        try:
            partial.write_bytes(buffer.getbuffer())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
