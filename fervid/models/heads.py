"""Heads: from a backbone's feature maps to one logit an emotion.

A head is in two parts: ``reduce`` makes a vector of the maps and learns nothing, so it belongs to the frozen prefix
while the whole backbone is frozen; ``layers`` learns.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from fervid.errors import InputError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Head(nn.Module):
    """``layers(reduce(x))``: (B, C, h, w) -> (B, num_classes).

    Args:
        reduce: (B, C, h, w) -> (B, F), without parameters.
        layers: (B, F) -> (B, num_classes).
    """

    def __init__(self, reduce: nn.Module, layers: nn.Module):
        super().__init__()
        self.reduce: nn.Module = reduce
        self.layers: nn.Module = layers
        self.layers.apply(glorot)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of feature maps (B, C, h, w)."""
        return self.layers(self.reduce(x))


class LinearHead(Head):
    """Global average pooling, dropout, one dense layer.

    Args:
        feature_shape: (C, h, w) of the backbone's output.
        num_classes: how many emotions.
        dropout: share of the C features that is dropped.

    Examples:
        >>> import torch
        >>> head = LinearHead((512, 7, 7), num_classes=8)
        >>> tuple(head(torch.zeros(4, 512, 7, 7)).shape)
        (4, 8)
    """

    def __init__(self, feature_shape: Sequence[int], num_classes: int, *, dropout: float = 0.2):
        _check_dropout([dropout])
        super().__init__(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_shape[0], num_classes)),
        )


class MLPHead(Head):
    """Flattened maps through hidden dense layers.

    Args:
        feature_shape: (C, h, w) of the backbone's output.
        num_classes: how many emotions.
        hidden: units of each hidden layer.
        dropout: share dropped after each hidden layer, one number a layer.
        activation: ``relu`` or ``tanh``, after each hidden layer.

    Raises:
        InputError: if ``hidden`` and ``dropout`` are of different length, or the activation is unknown.

    Examples:
        >>> import torch
        >>> head = MLPHead((16, 5, 5), num_classes=4, hidden=(120, 84), dropout=(0, 0), activation="tanh")
        >>> sum(parameter.numel() for parameter in head.parameters())
        58624
    """

    def __init__(
        self,
        feature_shape: Sequence[int],
        num_classes: int,
        *,
        hidden: Sequence[int] = (256,),
        dropout: Sequence[float] = (0.5,),
        activation: str = "relu",
    ):
        if len(hidden) != len(dropout):
            raise InputError(
                f"head.hidden={list(hidden)} and head.dropout={list(dropout)} need one number a layer each."
            )
        if activation not in ACTIVATIONS:
            raise InputError(f"head.activation={activation} is unknown: choose {' or '.join(ACTIVATIONS)}.")
        _check_dropout(dropout)
        layers: list[nn.Module] = []
        width = math.prod(feature_shape)
        for units, share in zip(hidden, dropout, strict=True):
            layers += [nn.Linear(width, units), ACTIVATIONS[activation](), nn.Dropout(share)]
            width = units
        super().__init__(nn.Flatten(), nn.Sequential(*layers, nn.Linear(width, num_classes)))


def glorot(layer: nn.Module) -> None:
    """Starts a convolution or dense layer as Keras does, which all four papers used: Glorot uniform, biases zero."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _check_dropout(shares: Sequence[float]) -> None:
    for share in shares:
        if not 0 <= share < 1:
            raise InputError(f"head.dropout={share} is no share: give a number from 0 to below 1.")
