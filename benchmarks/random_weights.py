"""Random weights for torchvision's networks whose features differ between pictures, for benchmarks.

With torchvision's initial BatchNorm statistics, the features after fifty layers are nearly 0 and all predictions are
alike. Here, the statistics are computed from rendered faces. Networks without BatchNorm, such as VGG16, are unchanged.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from fervid.synthetic.rendering import EMOTIONS, make_identity, render_crops

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


@torch.no_grad()
def random_network(name: str, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> nn.Module:
    """Returns a network with random weights, the same at each call.

    Args:
        name: torchvision's name of the network.
        mean: mean of red, green and blue in [0, 1] used to normalise the network's input.
        std: standard deviation of red, green and blue.
    """
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0  # use the statistics of one batch
    if norms:
        network.features(torch.from_numpy((_pictures() - mean) / std).permute(0, 3, 1, 2).float())
    return network.eval()


def random_weights(path: Path, name: str) -> Path:
    """Writes the state dict of a random network to a file; returns the file."""
    torch.save(random_network(name).state_dict(), path)
    return path


def _pictures() -> np.ndarray:
    """Returns faces of eight subjects in eight emotions, (64, 224, 224, 3) in [0, 1]."""
    faces = [
        render_crops(make_identity(person, 0), emotion, take=0, frames=30, size=224, seed=0, times=[15]).images[0]
        for person in range(1, 9)
        for emotion in EMOTIONS
    ]
    return np.stack(faces) / 255
