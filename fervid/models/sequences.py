"""Sequences of different length in one tensor.

A batch of sequences (B, T, ...) is as long as its longest sequence; the positions after the end of a sequence are NaN.
A tensor thus carries its own lengths through stages, caches and devices, and a layer that overlooks them fails loudly,
with a loss that is not finite, instead of learning from padding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def padded(sequences: Sequence[Tensor]) -> Tensor:
    """Joins B sequences (T, ...) of floats to a batch (B, T, ...), as long as the longest one."""
    return pad_sequence(list(sequences), batch_first=True, padding_value=torch.nan)


def valid_positions(x: Tensor) -> Tensor:
    """Returns whether each position of a batch (B, T, ...) belongs to its sequence, bool (B, T)."""
    return ~(x if x.dim() == 2 else x.flatten(2)[..., 0]).isnan()


def lengths(x: Tensor) -> Tensor:
    """Returns the length of each sequence of a batch (B, T, ...), int64 (B,)."""
    return valid_positions(x).sum(1)


def filled(x: Tensor, value: float = 0.0) -> Tensor:
    """Replaces the padding of a batch by a number, so that layers can compute with it."""
    return x.nan_to_num(nan=value, posinf=torch.inf, neginf=-torch.inf)


def with_padding(x: Tensor, valid: Tensor) -> Tensor:
    """Makes the positions (B, T) that are not valid NaN again in a batch (B, T, ...)."""
    return x.masked_fill(~valid.view(*valid.shape, *[1] * (x.dim() - 2)), torch.nan)
