"""Pooling over time: from the features of a sequence to one vector.

Input is a batch of sequences (B, T, D), padded with NaN (:mod:`fervid.models.sequences`); output is (B, F), where F is
the attribute ``num_features``. Poolings without parameters belong to the frozen prefix while the encoder is frozen.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.errors import InputError
from fervid.models.sequences import filled, lengths, valid_positions


class Mean(nn.Module):
    """Mean over time.

    Args:
        num_features: number of features D of a position.

    Attributes:
        num_features: number of features F of the result.
    """

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return filled(x).sum(1) / lengths(x)[:, None]


class MeanAndDeviation(nn.Module):
    """Mean and standard deviation over time, joined: F = 2 D (statistics pooling; Snyder et al., Interspeech 2017).

    Args:
        num_features: number of features D of a position.
    """

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = 2 * num_features

    def forward(self, x: Tensor) -> Tensor:
        count, valid = lengths(x)[:, None], valid_positions(x)[:, :, None]
        mean = filled(x).sum(1) / count
        squares = (filled(x) - mean[:, None]).square().masked_fill(~valid, 0.0).sum(1) / count
        # The square root has no gradient at 0, for instance of a feature that is constant over time.
        return torch.cat([mean, squares.clamp_min(1e-10).sqrt()], dim=1)


class Attention(nn.Module):
    """Weighted mean and deviation, with weights from a small network (attentive statistics; Okabe et al. 2018).

    Args:
        num_features: number of features D of a position.
        hidden: number of hidden units.
    """

    def __init__(self, num_features: int, *, hidden: int = 128):
        super().__init__()
        self.num_features = 2 * num_features
        self.scores = nn.Sequential(nn.Linear(num_features, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def weights(self, x: Tensor) -> Tensor:
        """Returns the weight of each position, (B, T), with sum 1 and 0 for padding."""
        scores = self.scores(filled(x))[..., 0].masked_fill(~valid_positions(x), -torch.inf)
        return scores.softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        weights, x = self.weights(x)[..., None], filled(x)
        mean = (weights * x).sum(1)
        squares = (weights * (x - mean[:, None]).square()).sum(1)
        return torch.cat([mean, squares.clamp_min(1e-10).sqrt()], dim=1)


class GRU(nn.Module):
    """Bidirectional GRU: last states of both directions, F = 2 hidden.

    Args:
        num_features: number of features D of a position.
        hidden: number of hidden units per direction.
        dropout: dropout probability of the input.
    """

    def __init__(self, num_features: int, *, hidden: int = 128, dropout: float = 0.2):
        super().__init__()
        self.num_features = 2 * hidden
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(num_features, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(filled(x)), lengths(x).cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return last.transpose(0, 1).flatten(1)


class TCN(nn.Module):
    """Temporal convolutional network: residual blocks of growing dilation, then mean and deviation (Bai et al. 2018).

    Args:
        num_features: number of features D of a position.
        hidden: number of channels.
        blocks: number of blocks; block i has a dilation of 2^i.
        dropout: dropout probability after each block.
    """

    def __init__(self, num_features: int, *, hidden: int = 128, blocks: int = 3, dropout: float = 0.2):
        super().__init__()
        self.first = nn.Linear(num_features, hidden)
        self.blocks = nn.ModuleList(
            nn.Conv1d(hidden, hidden, 3, padding=2**number, dilation=2**number) for number in range(blocks)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)
        self.pool = MeanAndDeviation(hidden)
        self.num_features = self.pool.num_features

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)[..., None]
        x = self.first(filled(x))
        for block, norm in zip(self.blocks, self.norms, strict=True):
            convolved = block(x.masked_fill(~valid, 0.0).transpose(1, 2)).transpose(1, 2)
            x = x + self.dropout(F.gelu(norm(convolved)))
        return self.pool(x.masked_fill(~valid, torch.nan))


class Transformer(nn.Module):
    """Transformer encoder with a class token; F = hidden.

    Args:
        num_features: number of features D of a position.
        hidden: number of channels; a multiple of ``heads``.
        layers: number of layers.
        heads: number of attention heads.
        dropout: dropout probability.

    Raises:
        InputError: if ``hidden`` is not a multiple of ``heads``.
    """

    def __init__(self, num_features: int, *, hidden: int = 128, layers: int = 2, heads: int = 4, dropout: float = 0.2):
        super().__init__()
        if hidden % heads:
            raise InputError(f"pooling.hidden={hidden} is not a multiple of pooling.heads={heads}: change one of them.")
        self.num_features = hidden
        self.first = nn.Linear(num_features, hidden)
        self.token = nn.Parameter(torch.zeros(1, 1, hidden))
        layer = nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)
        x = self.first(filled(x)) + _positions(x.shape[1], self.token.shape[2], x.device)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)  # len(x) would be constant in ONNX
        return self.layers(x, src_key_padding_mask=~F.pad(valid, (1, 0), value=True))[:, 0]


def _positions(length: int, width: int, device: torch.device) -> Tensor:
    """Returns sinusoidal positions, (length, width)."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-9.2103 / width))  # ln(10,000)
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
