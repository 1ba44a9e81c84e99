"""Layers in a form that ``torch.export`` can trace and ONNX can express.

The layers of fervid decide by the lengths of the sequences in a batch; these forms compute the same by masks. The STFT
is a convolution, since few runtimes other than ONNX Runtime have the operator STFT.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.models.log_mel import MIN_POWER, LogMel
from fervid.models.network import Network
from fervid.models.pooling import GRU
from fervid.models.sequences import filled, lengths, valid_positions, with_padding
from fervid.models.sound_encoders import SoundEncoder
from fervid.models.transformers_stages import Features


def traceable(network: Network) -> Network:
    """Returns a copy of a network, in ``eval()`` mode, whose layers can be traced for any lengths."""
    made = copy.deepcopy(network).eval()
    for module in made.modules():
        if form := FORMS.get(type(module)):
            module.__class__ = form  # the forms add no state of their own
        if isinstance(module, SoundEncoder) and type(module).prepare is SoundEncoder.prepare:
            vars(module)["prepare"] = _unchecked
    return made


def _unchecked(x: Tensor) -> Tensor:
    """Replaces :meth:`SoundEncoder.prepare`, which refuses missing sounds by their values."""
    return x


class _LogMel(LogMel):
    def _log_powers(self, x: Tensor) -> Tensor:
        frames = (x.shape[1] + self.hop - 1) // self.hop  # ONNX rounds negative numbers otherwise than Python
        x = F.pad(x[:, None], (self.n_fft // 2, 0), mode="reflect")
        x = F.pad(x, (0, self.n_fft))
        real, imaginary = F.conv1d(x, self._waves(), stride=self.hop)[:, :, :frames].chunk(2, dim=1)
        powers = (real.square() + imaginary.square()).transpose(1, 2) @ self.filters
        return powers.clamp_min(MIN_POWER).log10()

    def _waves(self) -> Tensor:
        """Returns windowed cosines and sines of all frequencies, (n_fft + 2, 1, n_fft)."""
        bins, samples = (torch.arange(count, dtype=torch.float64) for count in (self.n_fft // 2 + 1, self.n_fft))
        angles = 2 * torch.pi / self.n_fft * bins[:, None] * samples
        return (torch.cat([angles.cos(), -angles.sin()]) * self.window.double()).float()[:, None]


class _Features(Features):
    """The convolutions of wav2vec 2.0, which see no padding: only statistics over time need the lengths."""

    def forward(self, x: Tensor) -> Tensor:
        valid, x = valid_positions(x), filled(x)
        if self.normalize:
            x = _standardised(x, valid, 1e-7)
        x, samples = x[:, None], valid.sum(1)
        for layer in self.conv_layers:
            x, norm = layer.conv(x), getattr(layer, "layer_norm", None)
            samples = (samples - layer.conv.kernel_size[0]).div(layer.conv.stride[0], rounding_mode="floor") + 1
            valid = torch.arange(x.shape[2], device=x.device) < samples[:, None]
            if isinstance(norm, nn.GroupNorm):  # one channel per group
                x = _standardised(x, valid[:, None], norm.eps) * norm.weight[:, None] + norm.bias[:, None]
            elif norm is not None:
                x = norm(x.transpose(1, 2)).transpose(1, 2)
            x = layer.activation(x)
        return with_padding(x.transpose(1, 2), valid)


def _standardised(x: Tensor, valid: Tensor, epsilon: float) -> Tensor:
    """Brings the valid positions of (..., T) to mean 0 and deviation 1."""
    count = valid.sum(-1, keepdim=True)
    x = x - x.masked_fill(~valid, 0.0).sum(-1, keepdim=True) / count
    variance = x.masked_fill(~valid, 0.0).square().sum(-1, keepdim=True) / count
    return x / (variance + epsilon).sqrt()


class _GRU(GRU):
    """Without packed sequences: the backward direction runs on sequences that are shifted to the end of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        count, x = lengths(x)[:, None], filled(x)
        steps, width = torch.arange(x.shape[1], device=x.device), self.num_features // 2
        shift = (x.shape[1] - count).clamp_max(x.shape[1] - 1)  # 0 if a modality is missing, whose result is not used
        shifted = x.gather(1, ((steps - shift).clamp_min(0))[..., None].expand_as(x))
        forward, backward = self.gru(x)[0][..., :width], self.gru(shifted)[0][..., width:]
        last = (count - 1).clamp_min(0)
        return torch.cat([_at(forward, last), _at(backward, shift)], dim=1)


def _at(x: Tensor, positions: Tensor) -> Tensor:
    """Returns the values of (B, T, D) at one position (B, 1) of each sequence, (B, D)."""
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[2]))[:, 0]


FORMS: dict[type, type] = {LogMel: _LogMel, Features: _Features, GRU: _GRU}
