import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from fervid.callbacks import EpochSeed, FreezeThenFineTune

TWO_PHASES = [
    {"name": "frozen", "epochs": 2, "unfreeze_from": "head"},
    {"name": "fine_tune", "epochs": 3, "unfreeze_from": "conv2", "lr_factor": 0.5},
]


ADAM = partial(torch.optim.Adam, lr=0.01)


class KeepEach(pl.callbacks.Checkpoint):
    """Saves a checkpoint of every epoch, so that a test can resume from each."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt", weights_only=False)


@pytest.fixture
def fit(tmp_path: Path, synthetic: Callable, lenet: Callable) -> Callable:
    """Trains a LeNet in phases; returns trainer, model, callback and datamodule."""

    def run(
        phases: list[dict] = TWO_PHASES,
        *,
        resume: Path | None = None,
        each: Path | None = None,
        optimizer: Any = ADAM,
        head: str = "mlp",
        data: dict[str, Any] | None = None,
        callbacks: list[pl.Callback] = (),
        task: dict[str, Any] | None = None,
        accumulate: int = 1,
        **options: Any,
    ) -> tuple:
        torch.manual_seed(1)
        datamodule = synthetic(**(data or {}))
        model = lenet(head, optimizer=optimizer, **(task or {}))
        finetune = FreezeThenFineTune(phases, **options)
        trainer = pl.Trainer(
            max_epochs=finetune.max_epochs,
            accelerator="cpu",
            accumulate_grad_batches=accumulate,
            callbacks=[finetune, EpochSeed(3), *([KeepEach(each)] if each else []), *callbacks],
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
        )
        deaf = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(model, datamodule, ckpt_path=resume, weights_only=True)
        finally:
            signal.signal(signal.SIGINT, deaf)  # Lightning ignores all further Ctrl-C after the first
        return trainer, model, finetune, datamodule

    return run
