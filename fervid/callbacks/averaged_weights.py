"""Averaged weights: an exponential moving average of the weights is validated and kept."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fervid.errors import InputError


class AveragedWeights(WeightAveraging):
    """Validates and keeps an exponential moving average of the weights, updated with each optimizer step.

    Lightning's :class:`~pytorch_lightning.callbacks.WeightAveraging` does the work.
    :class:`fervid.callbacks.FreezeThenFineTune` keeps the averaged weights of the best epoch and starts a new average
    in each phase. Frozen stages keep their weights to the last bit, since equal weights are interpolated exactly.
    Lightning's ``EMAWeightAveraging`` multiplies and adds them instead, which rounds.

    Args:
        decay: share of the average that remains after a step; the average covers about ``1 / (1 - decay)`` steps.

    Raises:
        InputError: if ``decay`` is not above 0 and below 1.
    """

    def __init__(self, decay: float = 0.99):
        if not 0 < decay < 1:
            raise InputError(f"callbacks.averaged_weights.decay={decay} is out of range: use above 0 to below 1.")
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def average(self) -> nn.Module:
        """The model with the averaged weights; only during training."""
        assert self._average_model is not None
        return self._average_model.module

    def restart(self, pl_module: pl.LightningModule) -> None:
        """Starts a new average from the current weights."""
        assert self._average_model is not None
        self.average.load_state_dict(pl_module.state_dict())
        self._average_model.n_averaged.zero_()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Moves the average to the device of the model, which Lightning moves there after it was copied."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drops the average: later validations use the weights that were kept."""
        super().on_train_end(trainer, pl_module)
        self._average_model = None
