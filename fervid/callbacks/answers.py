"""Gathers what the model said of each test or validation sample."""

from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from fervid.tasks.task import Task


class Answers(pl.Callback):
    """Gathers the answers of the last test, or of the last validation.

    Attributes:
        index: number of each of the N samples in the sample table, shape (N,).
        values: what the task keeps of its outputs (:meth:`fervid.tasks.task.Task.answers`), each entry (N, ...).
    """

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches: list[dict[str, torch.Tensor]] = []

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any) -> None:
        # Where they are, since fetching each would wait for the GPU; copies, since a worker's keep a file open each.
        self._batches.append({key: value.clone() for key, value in outputs.items()})

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = self._batches[0] if self._batches else {}
        self.values = {name: torch.cat([batch[name] for batch in self._batches]).cpu().numpy() for name in names}
        self.index = self.values.pop("index")
        self._batches = []

    on_validation_epoch_start = on_test_epoch_start
    on_validation_batch_end = on_test_batch_end  # type: ignore[assignment]  # the others are taken as they come
    on_validation_epoch_end = on_test_epoch_end

    def table(self, model: Task, samples: pd.DataFrame) -> pd.DataFrame:
        """What was predicted, as the task writes it (:meth:`fervid.tasks.task.Task.predictions`).

        Args:
            model: that was asked.
            samples: the sample table.
        """
        return model.predictions(samples.loc[self.index], self.values)
