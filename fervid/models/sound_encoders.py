"""Encoders of sound: a small CNN, and the speech encoders of Hugging Face transformers."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fervid.errors import InputError
from fervid.models.encoder import Encoder, Weights
from fervid.models.log_mel import RATE, LogMel
from fervid.models.lora import add_lora
from fervid.models.provenance import transformers_info
from fervid.models.sequences import filled, lengths, valid_positions, with_padding
from fervid.models.transformers_stages import LAYER_WEIGHTS, library_name, make_chain
from fervid.models.transformers_weights import (
    Source,
    Unreachable,
    build,
    check_transformers,
    find_architecture,
    find_options,
    find_source,
)

log = logging.getLogger(__name__)


class SoundEncoder(Encoder):
    """An encoder of sounds.

    Attributes:
        min_samples: smallest number of samples of a sound.
        max_samples: largest number of samples of a sound.

    Shapes:
        sounds (B, S), float32, mono, 16,000 samples per second in [-1, 1], padded with NaN -> (B, T, D), padded with
        NaN.
    """

    modality = "sound"
    group = "sound_encoder"
    min_samples: int
    max_samples: float = math.inf

    def prepare(self, x: Tensor) -> Tensor:
        """Checks a batch of sounds (B, S), and returns it unchanged.

        Raises:
            InputError: if the batch has other dimensions, or a sound is shorter than :attr:`min_samples`.
        """
        if x.dim() != 2:
            raise InputError(f"a batch of sounds has the shape {tuple(x.shape)} instead of (B, S): give mono samples.")
        shortest = int(lengths(x).min())
        if shortest < self.min_samples:
            raise InputError(
                f"a sound of {shortest} samples is too short: this sound encoder needs at least {self.min_samples} "
                f"samples ({1000 * self.min_samples / RATE:.1f} ms); leave the sound out."
            )
        return x

    def example(self) -> Tensor:
        """Returns one second of quiet noise, (1, 16000)."""
        noise = 0.01 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
        return noise.to(next(self.network.parameters()).device)


class TimeBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of maps (B, C, T, F) whose statistics in training ignore padding in time."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalises maps.

        Args:
            x: maps (B, C, T, F); fastest with channels last.
            valid: positions that belong to a sound, bool (B, T).
        """
        if not self.training or valid is None or bool(valid.all()):
            return super().forward(x)
        x = x.permute(0, 2, 3, 1)
        positions, rows = x.flatten(0, 1), valid.flatten().nonzero().squeeze(1)
        packed = positions.index_select(0, rows)[None].permute(0, 3, 1, 2)
        # In this order, gradients have channels last, too; batch normalisation is several times slower without.
        normed = super().forward(packed).permute(0, 2, 3, 1)[0]
        return torch.zeros_like(positions).index_copy(0, rows, normed).view(x.shape).permute(0, 3, 1, 2)


class SoundBlock(nn.Module):
    """Strided convolution, batch normalisation and ReLU: (B, T, F C) -> (B, ceil(T / time), ceil(F / 2) D).

    The channels of a band are neighbours. A block so reads and writes maps with channels last, without copies.

    Args:
        channels: number of input channels C.
        width: number of output channels D.
        kernel: side of the filters, an odd number.
        time: stride in time; that in frequency is 2.
        last: whether the mean over frequency follows, so that the result is (B, ceil(T / time), D).
    """

    def __init__(self, channels: int, width: int, *, kernel: int, time: int, last: bool):
        super().__init__()
        self.channels, self.time, self.last = channels, time, last
        conv = nn.Conv2d(channels, width, kernel, stride=(time, 2), padding=kernel // 2, bias=False)
        self.conv = conv.to(memory_format=torch.channels_last)
        self.norm = TimeBatchNorm(width)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, time={self.time}, last={self.last}"

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)
        maps = filled(x).unflatten(2, (-1, self.channels)).permute(0, 3, 1, 2)
        valid = valid[:, :: self.time]
        maps = self.norm(self.conv(maps), valid).relu().permute(0, 2, 3, 1)
        return with_padding(maps.mean(2) if self.last else maps.flatten(2), valid)


class SoundCNN(SoundEncoder):
    """CNN on log-mel spectrograms, for training from scratch: 0.65 million parameters, 12.5 positions per second.

    Stages: ``log_mel``, ``block1`` to ``block4``. The first convolution (5 x 5) already halves time and frequency. With
    maps of full resolution and pooling after each convolution, a training step took five times as long on a CPU: 2.1 s
    instead of 0.4 s for 32 sounds of 2 s, mostly to move the maps of the first block through memory.

    Args:
        bands: number of mel bands; at least 16.
        normalization: see :class:`fervid.models.log_mel.LogMel`.
        widths: number of channels of each block.
        spec_augment: arguments of :class:`fervid.models.log_mel.SpecAugment`; None: none.
        **options: further arguments of :class:`fervid.models.encoder.Encoder`.
    """

    def __init__(
        self,
        *,
        bands: int = 64,
        normalization: str = "clip",
        widths: Sequence[int] = (48, 96, 192, 256),
        spec_augment: Mapping[str, float] | None = None,
        **options: Any,
    ):
        if bands < 2 ** len(widths):
            raise InputError(
                f"sound_encoder.bands={bands} is too small for {len(widths)} blocks: give {2 ** len(widths)} or more."
            )
        network = nn.Module()
        network.log_mel = LogMel(bands=bands, normalization=normalization, spec_augment=spec_augment)
        names = ["log_mel"]
        for number, width in enumerate(widths):
            last = number == len(widths) - 1
            channels = 1 if number == 0 else widths[number - 1]
            names.append(f"block{number + 1}")
            kernel, time = 5 if number == 0 else 3, 1 if last else 2
            network.add_module(names[-1], SoundBlock(channels, width, kernel=kernel, time=time, last=last))
        super().__init__(network, names, **options)
        self.min_samples = network.log_mel.n_fft


class TransformersEncoder(SoundEncoder):
    """A speech encoder of Hugging Face transformers: Whisper, wav2vec 2.0, HuBERT or WavLM.

    Whisper's stages are ``log_mel``, ``stem``, ``layers.0`` and so on, and ``norm``. It processes sounds as long as
    they are, up to 30 seconds, instead of padding them to 30 seconds. The stages of the others are ``features``,
    ``projection``, ``positions``, ``layers.0`` and so on, and in models with ``do_stable_layer_norm`` ``norm``.

    Features of middle layers recognise emotions better than those of the last layer (Pepino et al. 2021).

    Args:
        weights: name on the Hugging Face hub (``openai/whisper-tiny.en``), folder with ``config.json`` and
            ``model.safetensors`` or ``pytorch_model.bin``, or file of weights; None: random weights.
        architecture: ``whisper``, ``wav2vec2``, ``hubert`` or ``wavlm``; None: that of ``config.json``.
        options: options of the configuration in transformers, such as ``{"hidden_dropout": 0.0}``, which replace those
            of ``config.json``. Without ``config.json``, the other options have the defaults of transformers.
        layers: layers whose hidden states are the features: 0 is the input of the first layer, 1 the output of the
            first layer, and ``final`` the output of the last layer norm. ``all``: 0 to the last layer. None: the end of
            the model. The stages after the last chosen layer are removed.
        combine: ``join``: the features are the hidden states one after the other; or ``weights``: their weighted mean,
            with weights that the stage ``layer_weights`` learns.
        normalize: whether each sound is brought to mean 0 and deviation 1 (not Whisper); None: as
            ``preprocessor_config.json`` states, and True without such a file.
        on_missing_weights: what to do if the weights cannot be downloaded: ``error`` raises, ``warn`` continues with
            random weights.
        spec_augment: arguments of :class:`fervid.models.log_mel.SpecAugment` for the spectrogram of Whisper, or for
            the channels of the projected features of other models; None: none.
        last_block: see :class:`fervid.models.encoder.Encoder`. None: the last layer.
        weights_info: see :class:`fervid.models.encoder.Encoder`. What is not given is filled in for known models.
        lora: arguments of :func:`fervid.models.lora.add_lora`; targets are ``q_proj`` and ``v_proj`` by default.

    Raises:
        InputError: if transformers is not installed, an argument is unknown, or the weights cannot be used.
    """

    def __init__(
        self,
        *,
        weights: str | None,
        architecture: str | None = None,
        options: Mapping[str, Any] | None = None,
        layers: Sequence[int | str] | str | None = None,
        combine: str = "join",
        normalize: bool | None = None,
        on_missing_weights: str = "error",
        spec_augment: Mapping[str, float] | None = None,
        last_block: str | None = None,
        weights_info: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
    ):
        if combine not in ("join", "weights"):
            raise InputError(f"sound_encoder.combine={combine} is unknown: choose join or weights.")
        if on_missing_weights not in ("warn", "error"):
            raise InputError(f"on_missing_weights={on_missing_weights} is unknown: choose warn or error.")
        check_transformers()
        source, missing = _find(weights, on_missing_weights, architecture)
        config = None if source is None else source.config
        architecture = find_architecture(architecture, config, weights)
        options = find_options(architecture, config, options)
        if architecture == "whisper":
            normalize = False  # its spectrogram is
        elif normalize is None:
            normalize = bool(source is None or source.preprocessor.get("do_normalize", True))
        settings = {"architecture": architecture, "options": options, "normalize": normalize}
        chain = make_chain(
            architecture,
            build(architecture, options),
            layers=layers,
            combine=combine,
            normalize=normalize,
            spec_augment=spec_augment,
        )
        super().__init__(
            chain.network, chain.names, last_block=last_block or chain.last_block, weights_info=weights_info
        )
        self.settings = settings
        self.built_as = repr(settings)
        self.added_stages = (LAYER_WEIGHTS,)
        self.min_samples = chain.min_samples
        self.max_samples = chain.max_samples
        self._removed = chain.removed
        relative = "encoder.layers.0.attention.rel_attn_embed.weight"
        self.no_weight_decay = frozenset([relative] if architecture == "wavlm" else [])
        if source is not None:
            self._load(source, str(weights))
        elif weights is not None:
            self.weights = Weights(weights, missing=missing)
        if lora is not None:
            add_lora(self.network, **{"targets": ["q_proj", "v_proj"], **lora})

    def library_name(self, name: str) -> str:
        return library_name(name, self.settings["architecture"] == "whisper")

    def load_tensors(self, content: dict[str, Any], name: str) -> str | None:
        return super().load_tensors(_renamed(content), name)

    def _load(self, source: Source, name: str) -> None:
        if not source.is_local:
            self.weights_info = self.weights_info.over(transformers_info(name))
        self.load_file(source.weights)
        origin = "file" if source.is_local else "transformers"
        self.weights = replace(self.weights, requested=name, source=origin)


def _find(weights: str | None, on_missing_weights: str, architecture: str | None) -> tuple[Source | None, str | None]:
    """Returns the files of the weights, and the reason why they are missing although they were requested."""
    if weights is None:
        return None, None
    try:
        return find_source(str(weights)), None
    except Unreachable as error:
        sentence = (
            f"the weights {weights} cannot be downloaded ({error}): connect to a network, or give a folder or file "
            "with sound_encoder.weights=<path>; sound_encoder.weights=null uses random weights"
        )
        if on_missing_weights == "error" or architecture is None:
            raise InputError(f"{sentence}.") from error
        log.warning("NO PRETRAINED WEIGHTS, training starts from RANDOM weights: %s.", sentence)
        return None, str(error)


def _renamed(content: Any) -> Any:
    """Returns the content of a file with the names that weight_norm has had since PyTorch 2.0."""
    if not isinstance(content, dict):
        return content
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    renamed = {}
    for key, value in content.items():
        start, dot, end = str(key).rpartition("pos_conv_embed.conv.")
        renamed[f"{start}{dot}{names[end]}" if dot and end in names else key] = _renamed(value)
    return renamed
