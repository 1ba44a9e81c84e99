"""Mixup and CutMix: training on mixtures of two inputs."""

import torch
from torch import Tensor
from torchvision.transforms import v2


class Mixing:
    """Mixes each input of a batch with the one before, with the same weight for the whole batch.

    The random numbers come from torch's global generator, so that a resumed run mixes like an uninterrupted one.

    Args:
        mixup: parameter alpha of mixup, which adds two pictures or sequences (Zhang et al. 2018); 0: off.
        cutmix: parameter alpha of CutMix, which pastes a rectangle of one picture into the other (Yun et al. 2019); 0:
            off. If both are on, each batch takes one of them with equal probability.
    """

    def __init__(self, mixup: float, cutmix: float):
        self.mixup, self.cutmix = mixup, cutmix

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mixed inputs, and the share () of an input itself in its mixture.

        Args:
            inputs: pictures (B, 3, H, W), clips (B, T, 3, H, W), sounds (B, S) or tables (B, T, F), float. The mixture
                of two sequences of different length, padded with NaN, is as long as the longer one.
        """
        cuts = self.cutmix > 0 and (self.mixup == 0 or bool(torch.rand(()) < 0.5))
        transform, alpha = (v2.CutMix, self.cutmix) if cuts else (v2.MixUp, self.mixup)
        # With the position in the batch as the label, the mixed label contains the share of each picture.
        positions = torch.arange(len(inputs), device=inputs.device)
        padding = inputs.isnan() & inputs.roll(1, 0).isnan()
        # torchvision wants pictures. All frames of a clip are mixed alike, as further channels.
        pictures = inputs.nan_to_num(nan=0.0).reshape(
            len(inputs), -1, *(inputs.shape[-2:] if inputs.dim() > 3 else (1, 1))
        )
        mixed, shares = transform(alpha=alpha, num_classes=len(inputs))(pictures, positions)
        return mixed.reshape(inputs.shape).masked_fill(padding, torch.nan), shares[0, 0]
