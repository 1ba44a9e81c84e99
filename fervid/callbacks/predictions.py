"""What the model said of each test or validation frame."""

from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from fervid.schema.predictions import predictions_table


class Predictions(pl.Callback):
    """Gathers the probabilities of the last test, or of the last validation.

    Attributes:
        index: manifest row of each of the N frames, shape (N,).
        probabilities: shape (N, num_classes).
    """

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches: list[dict[str, torch.Tensor]] = []

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any) -> None:
        # Where they are, since fetching each would wait for the GPU; copies, since a worker's keep a file open each.
        self._batches.append({key: value.clone() for key, value in outputs.items()})

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.index, self.probabilities = (
            torch.cat([batch[name] for batch in self._batches]).cpu().numpy() for name in ("index", "probabilities")
        )
        self._batches = []

    on_validation_epoch_start = on_test_epoch_start
    on_validation_batch_end = on_test_batch_end  # type: ignore[assignment]  # the others are taken as they come
    on_validation_epoch_end = on_test_epoch_end

    def table(self, manifest: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
        """What was predicted, as :mod:`fervid.schema.predictions` describes it."""
        return predictions_table(manifest.loc[self.index], self.probabilities, class_names)
