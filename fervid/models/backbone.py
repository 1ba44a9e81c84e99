"""Base class of all backbones: encoders of pictures."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fervid.errors import InputError, first_line
from fervid.models.encoder import Encoder
from fervid.models.stages import MAPS, POOL

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(Encoder):
    """An encoder of pictures, whose features are maps.

    Args:
        network: see :class:`fervid.models.encoder.Encoder`, also for ``stages``.
        stages: names of the stages.
        image_size: side of the input pictures in pixels.
        mean: mean to subtract from each channel of a picture in [0, 1].
        std: standard deviation to divide by.
        channel_order: ``rgb``, or ``bgr`` for weights trained with this order (Caffe).
        **options: further arguments of :class:`fervid.models.encoder.Encoder`.

    Shapes:
        (B, 3, H, W) in [0, 1] -> (B, C, h, w).
    """

    modality = "image"
    group = "backbone"
    layout_stages = (MAPS, POOL)  # they bring features to the layout (B, C, h, w)

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[str],
        *,
        image_size: int = 224,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        channel_order: str = "rgb",
        **options: Any,
    ):
        if channel_order not in ("rgb", "bgr"):
            raise InputError(f"backbone.channel_order={channel_order} is unknown: choose rgb or bgr.")
        super().__init__(network, stages, **options)
        self.image_size = image_size
        self.channel_order = channel_order
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def prepare(self, x: Tensor) -> Tensor:
        """Normalises pictures (B, 3, H, W), float in [0, 1] or uint8."""
        if x.dtype == torch.uint8:  # directly from a loader, without the datamodule's hook
            x = x.float() / 255
        if self.channel_order == "bgr":
            x = x.flip(1)
        return (x - self.mean) / self.std

    def example(self) -> Tensor:
        return torch.zeros(1, 3, self.image_size, self.image_size, device=self.mean.device)

    def key(self) -> list[Any]:
        return [*super().key(), self.channel_order]

    def output_shape(self) -> tuple[int, int, int]:
        """Returns the shape (C, h, w) of the features of one picture of size :attr:`image_size`.

        Raises:
            InputError: if the picture is too small for the network.
        """
        try:
            shape = super().output_shape()
        except RuntimeError as error:
            raise InputError(
                f"a picture of {self.image_size} px is too small for this backbone ({first_line(error)}): "
                "give a larger backbone.image_size."
            ) from error
        if len(shape) != 3 or 0 in shape:
            raise InputError(
                f"a picture of {self.image_size} px gives empty features of shape {shape}: "
                "give a larger backbone.image_size."
            )
        channels, height, width = shape
        return channels, height, width
