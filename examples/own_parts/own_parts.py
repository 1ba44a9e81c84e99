"""A head, a callback and an augmentation."""

import albumentations as A
import pytorch_lightning as pl
import torch
from torch import nn

from fervid.models.heads import Head


# --8<-- [start:head]
class MaxPoolHead(Head):
    """Global maximum pooling and one dense layer."""

    def __init__(self, feature_shape, num_classes):
        reduce = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())  # without parameters
        super().__init__(reduce, nn.Linear(feature_shape[0], num_classes))


# --8<-- [end:head]
# --8<-- [start:callback]
class GradientNorm(pl.Callback):
    """Logs the norm of the gradients, averaged over each epoch."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        norms = [weight.grad.norm() for weight in pl_module.parameters() if weight.grad is not None]
        pl_module.log("gradient_norm", torch.stack(norms).norm(), on_step=False, on_epoch=True)


# --8<-- [end:callback]
# --8<-- [start:augmentation]
class Posterise(A.ImageOnlyTransform):
    """Keeps the highest bits of each pixel."""

    def __init__(self, bits, p=0.5):
        super().__init__(p=p)
        self.bits = bits

    def apply(self, img, **params):
        return img & (256 - 2 ** (8 - self.bits))


# --8<-- [end:augmentation]
