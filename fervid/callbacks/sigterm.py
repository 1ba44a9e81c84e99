"""Handling of SIGTERM during training."""

import signal
from typing import Any

import pytorch_lightning as pl


class SigtermHandler(pl.Callback):
    """Restores the command's SIGTERM handler, which Lightning replaces.

    Lightning's handler stops at the next step with exit code 0. In distributed training it waits for a reply that a
    process inside a collective operation cannot send.
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
