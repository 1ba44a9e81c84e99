"""Heads: from a backbone's feature maps to one logit per emotion.

A head has two parts. ``reduce`` turns the feature maps into a vector and has no parameters, so it is part of the frozen
prefix while the whole backbone is frozen. ``layers`` is trainable.
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
        """Returns the logits (B, num_classes) for feature maps (B, C, h, w)."""
        return self.layers(self.reduce(x))


class LinearHead(Head):
    """Global average pooling, dropout and one dense layer.

    Args:
        feature_shape: shape (C, h, w) of the backbone's output, or (F,) of a vector, which is not pooled.
        num_classes: number of emotions.
        dropout: dropout probability of the features.

    Examples:
        >>> import torch
        >>> head = LinearHead((512, 7, 7), num_classes=8)
        >>> tuple(head(torch.zeros(4, 512, 7, 7)).shape)
        (4, 8)
    """

    def __init__(self, feature_shape: Sequence[int], num_classes: int, *, dropout: float = 0.2):
        _check_dropout([dropout])
        super().__init__(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if len(feature_shape) > 1 else nn.Identity(),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_shape[0], num_classes)),
        )


class MLPHead(Head):
    """Flattened feature maps followed by hidden dense layers.

    Args:
        feature_shape: shape (C, h, w) of the backbone's output, or (F,) of a vector.
        num_classes: number of emotions.
        hidden: number of units of each hidden layer.
        dropout: dropout probability after each hidden layer.
        activation: ``relu`` or ``tanh``, after each hidden layer.

    Raises:
        InputError: if ``hidden`` and ``dropout`` have different lengths, or the activation is unknown.

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
                f"head.hidden={list(hidden)} and head.dropout={list(dropout)} have different lengths: give one number "
                "per hidden layer in each."
            )
        if activation not in ACTIVATIONS:
            raise InputError(f"head.activation={activation} is unknown: choose {' or '.join(ACTIVATIONS)}.")
        _check_dropout(dropout)
        layers: list[nn.Module] = []
        width = math.prod(feature_shape)
        for units, probability in zip(hidden, dropout, strict=True):
            layers += [nn.Linear(width, units), ACTIVATIONS[activation](), nn.Dropout(probability)]
            width = units
        super().__init__(nn.Flatten(), nn.Sequential(*layers, nn.Linear(width, num_classes)))


def glorot(layer: nn.Module) -> None:
    """Initialises a layer like Keras, which the papers on pictures used: Glorot uniform weights and zero biases."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _check_dropout(probabilities: Sequence[float]) -> None:
    for probability in probabilities:
        if not 0 <= probability < 1:
            raise InputError(f"head.dropout={probability} is out of range: give a number from 0 to below 1.")
