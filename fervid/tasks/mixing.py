"""Mixup and CutMix: training on mixtures of two pictures."""

import torch
from torch import Tensor
from torchvision.transforms import v2


class Mixing:
    """Mixes each picture of a batch with the one before, with the same weight for the whole batch.

    The random numbers come from torch's global generator, so that a resumed run mixes like an uninterrupted one.

    Args:
        mixup: parameter alpha of mixup, which adds two pictures (Zhang et al. 2018); 0: off.
        cutmix: parameter alpha of CutMix, which pastes a rectangle of one picture into the other (Yun et al. 2019); 0:
            off. If both are on, each batch takes one of them with equal probability.
    """

    def __init__(self, mixup: float, cutmix: float):
        self.mixup, self.cutmix = mixup, cutmix

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mixed pictures (B, 3, H, W), and the share () of a picture's own pixels in its mixture.

        Args:
            images: pictures (B, 3, H, W), float.
        """
        cuts = self.cutmix > 0 and (self.mixup == 0 or bool(torch.rand(()) < 0.5))
        transform, alpha = (v2.CutMix, self.cutmix) if cuts else (v2.MixUp, self.mixup)
        # With the position in the batch as the label, the mixed label contains the share of each picture.
        positions = torch.arange(len(images), device=images.device)
        mixed, shares = transform(alpha=alpha, num_classes=len(images))(images, positions)
        return mixed, shares[0, 0]
