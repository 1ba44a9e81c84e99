"""What the model said of each test or validation frame."""

from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch


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
        """One row a frame: what the manifest knows of it, ``true``, ``predicted`` and ``p_<emotion>`` each."""
        frames = manifest.loc[self.index].drop(columns="store_row").rename(columns={"emotion": "true"})
        frames.insert(0, "index", self.index)
        frames["predicted"] = np.array(class_names, dtype=object)[self.probabilities.argmax(axis=1)]
        chances = pd.DataFrame(self.probabilities, columns=[f"p_{name}" for name in class_names], index=frames.index)
        return pd.concat([frames, chances], axis=1)
