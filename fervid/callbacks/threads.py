"""Small networks on one thread."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from fervid.data.frames import Batch
from fervid.tasks.classification import EmotionClassifier

SMALL = 20e6  # operations of a batch on its way forward; LeNet's batch of 10 has 13 million


class OneThreadIfSmall(pl.Callback):
    """Trains on one thread where a step is so small that sharing it out over the processor's cores costs more.

    Beside other work each of a step's dozens of operations waits until the scheduler has found time for all threads.
    LeNet's step at a batch of 10 on two cores: alone 2.1 ms with one thread and 1.8 with two, beside two busy processes
    3.4 and 4.9, beside several programs that share out their work too 28 and 806. The choice depends on the network,
    the phase and the batch size alone, so that a run that is repeated or resumed rounds as before.
    """

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()
        self._small: dict[int, bool] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: EmotionClassifier, batch: Batch, batch_idx: int
    ) -> None:
        if pl_module.device.type != "cpu":
            return
        phase = pl_module.first_stage
        if phase not in self._small:
            self._small[phase] = _operations(pl_module, batch) < SMALL
        if self._small[phase] and torch.get_num_threads() > 1:
            torch.set_num_threads(1)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: EmotionClassifier) -> None:
        """All threads: its batches are larger."""
        torch.set_num_threads(self.threads)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: EmotionClassifier) -> None:
        """All threads again: what stands still is computed between two phases."""
        torch.set_num_threads(self.threads)

    def teardown(self, trainer: pl.Trainer, pl_module: EmotionClassifier, stage: str) -> None:
        torch.set_num_threads(self.threads)

    def on_exception(self, trainer: pl.Trainer, pl_module: EmotionClassifier, exception: BaseException) -> None:
        torch.set_num_threads(self.threads)


@torch.no_grad()
def _operations(model: EmotionClassifier, batch: Batch) -> float:
    """Floating-point operations of a batch on its way through all that is computed in a step."""
    first: Any = {name: tensor[:1] for name, tensor in batch.items()}
    model.eval()  # draws nothing, moves no statistics
    with FlopCounterMode(display=False) as counter:
        model.predict_step(first, 0)
    model.train()
    return counter.get_total_flops() * len(batch["label"])
