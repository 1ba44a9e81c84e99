"""Stages of speech encoders of Hugging Face transformers, on batches of sequences padded with NaN.

The parts of a model become stages that pass one tensor (B, T, C) to the next. From layer 0 on, its last D channels are
the hidden state; the chosen hidden states of earlier layers precede them. A prefix of the stages can thus be cached as
one tensor, from which the later stages continue. No result depends on padding or on the other sounds of the batch.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.errors import InputError
from fervid.models.log_mel import MAX_RANGE, RATE, LogMel, SpecAugment, made_spec_augment
from fervid.models.sequences import filled, lengths, padded, valid_positions, with_padding

LAYER_WEIGHTS = "layer_weights"
WHISPER_STEP = 2 * 160  # samples from one position to the next
WHISPER_MIN_SAMPLES = 400  # a window of its spectrogram
# Beginnings of the names of tensors in the stages, and in the library.
WHISPER_NAMES = {"stem.positions": "embed_positions.weight", "stem.": "", "norm.block.": "layer_norm."}
SPEECH_NAMES = {
    "features.": "feature_extractor.",
    "projection.projection.": "feature_projection.",
    "positions.": "encoder.",
    "norm.block.": "encoder.layer_norm.",
}


@dataclass(frozen=True)
class Chain:
    """The stages of a model.

    Attributes:
        network: module that contains the stages as submodules.
        names: names of the stages, in the order in which they are applied.
        last_block: name of the last layer; if no layer is used, of the last stage.
        removed: names in the library of the parts after the last stage.
        min_samples: smallest number of samples of a sound.
        max_samples: largest number of samples of a sound.
    """

    network: nn.Module
    names: list[str]
    last_block: str
    removed: list[str]
    min_samples: int
    max_samples: float


def make_chain(
    architecture: str,
    model: Any,
    *,
    layers: int | str | Sequence[int | str] | None,
    combine: str,
    normalize: bool,
    spec_augment: Mapping[str, float] | None,
) -> Chain:
    """Makes the stages of a model, which use its modules.

    Args:
        architecture: ``whisper``, ``wav2vec2``, ``hubert`` or ``wavlm``.
        model: see :func:`fervid.models.transformers_weights.build`.
        layers: see :class:`fervid.models.sound_encoders.TransformersEncoder`, also for the other arguments.
        combine: ``join`` or ``weights``.
        normalize: whether each sound is normalised.
        spec_augment: arguments of :class:`fervid.models.log_mel.SpecAugment`; None: none.

    Raises:
        InputError: if a layer or an argument of ``spec_augment`` does not exist.
    """
    is_whisper = architecture == "whisper"
    config, encoder = model.config, model if is_whisper else model.encoder
    width = config.d_model if is_whisper else config.hidden_size
    has_norm = is_whisper or config.do_stable_layer_norm
    blocks, prefix = list(encoder.layers), "" if is_whisper else "encoder."
    chosen = chosen_layers(layers, len(blocks), has_norm)
    relative = blocks[0].attention.rel_attn_embed if architecture == "wavlm" else None
    hidden: list[nn.Module] = [Layer(block, width, n in chosen, relative) for n, block in enumerate(blocks)]
    hidden += [Norm(encoder.layer_norm, width, len(blocks) in chosen)] if has_norm else []
    layer_names = [f"layers.{number}" for number in range(len(blocks))] + (["norm"] if has_norm else [])
    library_names = [f"{prefix}{name}" for name in layer_names[: len(blocks)]]
    library_names += [f"{prefix}layer_norm"] if has_norm else []
    start: dict[str, nn.Module]
    most: float
    if is_whisper:
        mel = LogMel(bands=config.num_mel_bins, spec_augment=spec_augment)
        stem = WhisperStem(model)
        start, samples, most = {"log_mel": mel, "stem": stem}, WHISPER_MIN_SAMPLES, len(stem.positions) * WHISPER_STEP
    else:
        augment = made_spec_augment(spec_augment, RATE / math.prod(config.conv_stride))
        start = {"features": Features(model.feature_extractor, normalize)}
        start |= {"projection": Projection(model.feature_projection, augment)}
        start |= {"positions": Positions(encoder, norm=not has_norm)}
        samples, most = min_samples(config.conv_kernel, config.conv_stride), math.inf
    used = chosen[-1]
    network = nn.Module()
    for name, stage in start.items():
        network.add_module(name, stage)
    network.add_module("layers", nn.ModuleList(hidden[: min(used, len(blocks))]))
    if used > len(blocks):
        network.add_module("norm", hidden[-1])
    names = [*start, *layer_names[:used]]
    if combine == "weights":
        network.add_module(LAYER_WEIGHTS, LayerWeights(len(chosen)))
        names.append(LAYER_WEIGHTS)
    last_block = next((name for name in reversed(names) if name.startswith("layers.")), names[-1])
    return Chain(network, names, last_block, library_names[used:], samples, most)


def chosen_layers(layers: int | str | Sequence[int | str] | None, count: int, has_norm: bool) -> list[int]:
    """Returns the sorted numbers of the chosen hidden states.

    Args:
        layers: see :class:`fervid.models.sound_encoders.TransformersEncoder`.
        count: number of layers.
        has_norm: whether a layer norm follows the last layer; its output has the number ``count + 1``.

    Raises:
        InputError: if a layer does not exist, or none is chosen.

    Examples:
        >>> chosen_layers(["final", 2, 3], 4, True)
        [2, 3, 5]
    """
    if layers == "all":
        return list(range(count + 1))
    listed = ["final"] if layers is None else [layers] if isinstance(layers, int | str) else list(layers)
    numbers = {count + has_norm if layer == "final" else layer for layer in listed}
    if not numbers or not all((isinstance(n, int) and 0 <= n <= count) or n == count + has_norm for n in numbers):
        raise InputError(
            f"sound_encoder.layers={layers} cannot be used: give a list of layers from 0 to {count} and final, or all."
        )
    return sorted(int(number) for number in numbers)


def library_name(name: str, is_whisper: bool) -> str:
    """Returns the name of a tensor in the library for its name in :attr:`Chain.network`.

    Examples:
        >>> library_name("layers.0.block.fc1.weight", True), library_name("norm.block.bias", False)
        ('layers.0.fc1.weight', 'encoder.layer_norm.bias')
    """
    if match := re.match(r"(layers\.\d+\.)block\.(.+)", name):
        return f"{'' if is_whisper else 'encoder.'}{match[1]}{match[2]}"
    for own, library in (WHISPER_NAMES if is_whisper else SPEECH_NAMES).items():
        if name.startswith(own):
            return f"{library}{name.removeprefix(own)}"
    return name


class WhisperStem(nn.Module):
    """Whisper's two convolutions, and the positions up to the length of the longest sound.

    A sound is followed by silence, as in Whisper, but only as far as the convolutions see it: padding to 30 seconds
    would multiply the computation of a sound of 4 seconds by seven.

    Args:
        encoder: the ``WhisperEncoder``, whose convolutions are used.

    Shapes:
        log-mel spectrograms (B, T, bands) -> (B, ceil(T / 2), D).

    Raises:
        InputError: if a sound is longer than the positions (30 seconds).
    """

    def __init__(self, encoder: Any):
        super().__init__()
        self.conv1, self.conv2 = encoder.conv1, encoder.conv2
        self.dropout = encoder.config.dropout
        self.step = WHISPER_STEP / RATE  # seconds from one position to the next
        self.positions: Tensor  # a buffer, since Whisper's sinusoids are never trained
        self.register_buffer("positions", encoder.embed_positions.weight.detach().clone())

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)[:, ::2]
        limit = len(self.positions)
        if valid.shape[1] > limit:
            if valid[:, limit:].any():
                seconds = float(valid.sum(1).max()) * self.step
                raise InputError(
                    f"a sound of {seconds:.1f} s is too long for Whisper, which accepts up to "
                    f"{limit * self.step:g} s: leave it out, or divide it into shorter sounds."
                )
            x, valid = x[:, : 2 * limit], valid[:, :limit]
        # The loudest value of a normalised spectrogram is 2 above its silence: see LogMel.
        silence = x.masked_fill(x.isnan(), -torch.inf).amax((1, 2), keepdim=True) - MAX_RANGE / 4
        x = torch.cat([torch.where(x.isnan(), silence, x), silence.expand(-1, 3, x.shape[2])], dim=1)
        x = F.gelu(self.conv2(F.gelu(self.conv1(x.transpose(1, 2))))).transpose(1, 2)[:, : valid.shape[1]]
        x = F.dropout(x + self.positions[: valid.shape[1]], self.dropout, self.training)
        return with_padding(x, valid)


class Features(nn.Module):
    """The convolutions of wav2vec 2.0 and its successors: sounds (B, S) -> (B, T, C), 50 positions per second.

    The first convolution of base models is normalised over time. Sounds of different length are therefore processed
    one after the other.

    Args:
        extractor: feature encoder of the model.
        normalize: whether each sound is first brought to mean 0 and standard deviation 1.
    """

    def __init__(self, extractor: Any, normalize: bool):
        super().__init__()
        self.conv_layers = extractor.conv_layers
        self.normalize = normalize

    def extra_repr(self) -> str:
        return f"normalize={self.normalize}"

    def forward(self, x: Tensor) -> Tensor:
        samples = lengths(x).tolist()
        if len(set(samples)) == 1:
            return self._features(x[:, : samples[0]])
        return padded([self._features(row[None, :count])[0] for row, count in zip(x, samples, strict=True)])

    def _features(self, x: Tensor) -> Tensor:
        if self.normalize:  # as in Wav2Vec2FeatureExtractor
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-7).sqrt()
        x = x[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class Projection(nn.Module):
    """Projects the output of the convolutions to the width of the transformer: (B, T, C) -> (B, T, D).

    Args:
        projection: feature projection of the model.
        augment: masks channels and stretches of time in training; None: none.
    """

    def __init__(self, projection: nn.Module, augment: SpecAugment | None):
        super().__init__()
        self.projection = projection
        self.augment = augment

    def forward(self, x: Tensor) -> Tensor:
        found = self.projection(filled(x))
        found = with_padding(found[0] if isinstance(found, tuple) else found, valid_positions(x))
        return found if self.augment is None else self.augment(found)


class Positions(nn.Module):
    """Adds positions by a convolution: (B, T, D) -> (B, T, D).

    Args:
        encoder: transformer of the model.
        norm: whether the layer norm follows here; in models with ``do_stable_layer_norm`` it follows the last layer.
    """

    def __init__(self, encoder: Any, norm: bool):
        super().__init__()
        self.pos_conv_embed = encoder.pos_conv_embed
        if norm:
            self.layer_norm = encoder.layer_norm
        self.dropout = encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)
        x = filled(x)
        x = x + self.pos_conv_embed(x)
        if hasattr(self, "layer_norm"):
            x = self.layer_norm(x)
        return with_padding(self.dropout(x), valid)


class Layer(nn.Module):
    """A layer of the transformer: (B, T, C) -> (B, T, C or C + D), whose last D channels are its hidden state.

    Args:
        block: the layer of the model.
        width: number of channels D of a hidden state.
        keep: whether the preceding hidden state is a chosen one, which stays in the output.
        relative: embedding of WavLM's relative positions, which belongs to its first layer; None for other models.
    """

    def __init__(self, block: nn.Module, width: int, keep: bool, relative: nn.Module | None = None):
        super().__init__()
        self.block = block
        self.width, self.keep = width, keep
        self._relative = [relative] if relative is not None else []  # in a list, so that it is no submodule

    def extra_repr(self) -> str:
        return f"width={self.width}, keep={self.keep}"

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)
        x = filled(x)
        kept, hidden = (x, x[..., -self.width :]) if self.keep else x.split([x.shape[2] - self.width, self.width], 2)
        return with_padding(torch.cat([kept, self._hidden(hidden, valid)], dim=2), valid)

    def _hidden(self, x: Tensor, valid: Tensor) -> Tensor:
        mask = valid[:, None, None, :]
        if self._relative:
            return _wavlm_layer(self.block, x, mask, self._relative[0])
        found = self.block(x, mask)
        return found[0] if isinstance(found, tuple) else found  # a tuple before transformers 5


class Norm(Layer):
    """The layer norm after the last layer, for which the arguments are those of :class:`Layer`."""

    def _hidden(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.block(x)


class LayerWeights(nn.Module):
    """Weighted mean of hidden states, with learned weights: (B, T, k D) -> (B, T, D) (SUPERB; Yang et al. 2021).

    Args:
        count: number k of hidden states.
    """

    def __init__(self, count: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weights.softmax(0)
        mean = (filled(x).unflatten(2, (len(weights), -1)) * weights[:, None]).sum(2)
        return with_padding(mean, valid_positions(x))


def _wavlm_layer(layer: Any, x: Tensor, mask: Tensor, relative: nn.Module) -> Tensor:
    """Applies a layer of WavLM, whose attention in transformers is neither fused nor open to LoRA.

    Args:
        layer: ``WavLMEncoderLayer`` or ``WavLMEncoderLayerStableLayerNorm``.
        x: hidden state (B, T, D).
        mask: which positions are valid, bool (B, 1, 1, T).
        relative: embedding of the relative positions.
    """
    stable = type(layer).__name__.endswith("StableLayerNorm")
    attended = _wavlm_attention(layer.attention, layer.layer_norm(x) if stable else x, mask, relative)
    x = x + layer.dropout(attended)
    if stable:
        return x + layer.feed_forward(layer.final_layer_norm(x))
    x = layer.layer_norm(x)
    return layer.final_layer_norm(x + layer.feed_forward(x))


def _wavlm_attention(attention: Any, x: Tensor, mask: Tensor, relative: Any) -> Tensor:
    """Attention with gated relative positions (Chen et al. 2022, equations 3 to 7)."""
    heads = attention.num_heads
    query, key, value = (
        projection(x).unflatten(2, (heads, -1)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    offsets = torch.arange(x.shape[1], device=x.device)
    buckets = attention._relative_positions_bucket(offsets[None] - offsets[:, None])
    bias = relative(buckets).permute(2, 0, 1)
    gates = attention.gru_rel_pos_linear(x.unflatten(2, (heads, -1)).transpose(1, 2)).unflatten(3, (2, 4)).sum(4)
    first, second = gates.sigmoid().split(1, dim=3)
    gate = first * (second * attention.gru_rel_pos_const - 1) + 2
    bias = (gate * bias).masked_fill(~mask, -torch.inf)
    dropout = attention.dropout if attention.training else 0.0
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), dropout_p=dropout)
    joined = attended.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # strides that ONNX export predicts
    return attention.out_proj(joined.flatten(2))


def min_samples(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Returns the number of samples that one position of a chain of convolutions needs."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
