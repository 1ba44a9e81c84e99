"""Seeding per epoch, so that a resumed run draws the same dropout masks as an uninterrupted one."""

import pytorch_lightning as pl
import torch

from fervid.data.seeds import draw_seed


class EpochSeed(pl.Callback):
    """Seeds torch at the start of every epoch from (seed, epoch, rank).

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(draw_seed(self.seed, trainer.current_epoch, trainer.global_rank))
