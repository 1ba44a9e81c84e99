"""SIGTERM ends training as it ends everything else."""

import signal
from typing import Any

import pytorch_lightning as pl


class OwnSigterm(pl.Callback):
    """Keeps the command's own handler of SIGTERM.

    Lightning puts its own in front: it ends at the next step with exit code 0, and between two processes it waits for
    an answer that a process inside a collective operation cannot give.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if callable(self.handler):
            signal.signal(signal.SIGTERM, self.handler)

    def on_validation_start(self, *args: Any) -> None:
        self.on_train_start(*args)

    def on_test_start(self, *args: Any) -> None:
        self.on_train_start(*args)
