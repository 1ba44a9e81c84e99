"""A small convolutional backbone."""

from torch import nn

from fervid.models.backbone import Backbone


class TinyNet(Backbone):
    """Three strided convolutions: (B, 3, H, H) -> (B, 64, H / 8, H / 8)."""

    def __init__(self, *, image_size=32, **options):
        sizes = {"block1": (3, 16), "block2": (16, 32), "block3": (32, 64)}
        blocks = {name: nn.Sequential(nn.Conv2d(*size, 3, 2, padding=1), nn.ReLU()) for name, size in sizes.items()}
        super().__init__(nn.ModuleDict(blocks), list(blocks), image_size=image_size, **options)
