"""Collects the model's outputs for each test or validation sample."""

from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from fervid.tasks.task import Task


class OutputCollector(pl.Callback):
    """Collects the outputs of the most recent test or validation.

    Attributes:
        index: row of each of the N samples in the sample table, shape (N,).
        values: recorded outputs by name (:meth:`fervid.tasks.task.Task.recorded_outputs`), each of shape (N, ...).
    """

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches: list[dict[str, torch.Tensor]] = []

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any) -> None:
        # Left on their device, since copying each batch to the host would wait for the GPU. Cloned, since every tensor
        # from a loader worker keeps a file open.
        self._batches.append({key: value.clone() for key, value in outputs.items()})

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = self._batches[0] if self._batches else {}
        self.values = {name: torch.cat([batch[name] for batch in self._batches]).cpu().numpy() for name in names}
        self.index = self.values.pop("index")
        self._batches = []

    on_validation_epoch_start = on_test_epoch_start
    on_validation_batch_end = on_test_batch_end  # type: ignore[assignment]  # *args takes the remaining arguments
    on_validation_epoch_end = on_test_epoch_end

    def table(self, model: Task, samples: pd.DataFrame, alone: str | None = None) -> pd.DataFrame:
        """Returns the table of predictions (:meth:`fervid.tasks.task.Task.predictions`).

        Args:
            model: model that gave the outputs.
            samples: the sample table.
            alone: a modality, for the predictions from this modality alone; None: those from all modalities.
        """
        values = self.values
        if alone is not None:
            ending = f"_{alone}"
            values = {name.removesuffix(ending): array for name, array in values.items() if name.endswith(ending)}
        return model.predictions(samples.loc[self.index], values)
