"""Log-mel spectrograms of a batch of sounds, and SpecAugment."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.errors import InputError
from fervid.models.sequences import filled, valid_positions, with_padding

RATE = 16_000  # samples per second
NORMALIZATIONS = ("whisper", "clip", "none")
MIN_POWER = 1e-10  # -100 dB relative to a power of 1, as in Whisper
MAX_RANGE = 8.0  # powers of ten below the loudest value of a sound that Whisper distinguishes: 80 dB


def mel_filters(bands: int, n_fft: int, rate: int = RATE, max_hertz: float | None = None) -> Tensor:
    """Returns triangular filters of the same area on Slaney's mel scale, (n_fft // 2 + 1, bands).

    The scale is linear below 1,000 Hz (15 mel) and logarithmic above it (Slaney, Auditory Toolbox, 1998). Whisper and
    librosa use these filters.

    Args:
        bands: number of filters.
        n_fft: number of samples of a window.
        rate: samples per second.
        max_hertz: upper end of the last filter in Hz; None: half the rate.
    """
    step = math.log(6.4) / 27  # of one mel above 1,000 Hz
    top = rate / 2 if max_hertz is None else max_hertz
    top_mel = 3 * top / 200 if top < 1000 else 15 + math.log(top / 1000) / step
    mel = torch.linspace(0, top_mel, bands + 2, dtype=torch.float64)
    hertz = torch.where(mel < 15, 200 * mel / 3, 1000 * torch.exp(step * (mel - 15)))
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rising = (bins[:, None] - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins[:, None]) / (hertz[2:] - hertz[1:-1])
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles * 2 / (hertz[2:] - hertz[:-2])).float()


class SpecAugment(nn.Module):
    """Masks random bands of frequency and random stretches of time, in training mode only (Park et al. 2019).

    Each sound of a batch gets its own masks, drawn from torch's global generator of its device. Masked values become
    the mean of the sound.

    Args:
        freq_masks: number of masks of frequency.
        freq_width: largest width of a mask of frequency, in bands or channels.
        time_masks: number of masks of time.
        time_width_seconds: largest duration of a mask of time.
        max_time_fraction: largest duration of a mask of time as a fraction of the sound, so that a short sound keeps
            most of its frames.
        frame_rate: positions per second.

    Shapes:
        (B, T, D), padded with NaN -> the same.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        *,
        freq_masks: int = 2,
        freq_width: int = 15,
        time_masks: int = 2,
        time_width_seconds: float = 0.4,
        max_time_fraction: float = 0.2,
        frame_rate: float = 100.0,
    ):
        super().__init__()
        settings: dict[str, float] = {"freq_masks": freq_masks, "freq_width": freq_width, "time_masks": time_masks}
        settings |= {"time_width_seconds": time_width_seconds, "max_time_fraction": max_time_fraction}
        for name, value in settings.items():
            upper = 1 if name == "max_time_fraction" else math.inf
            if not 0 <= value <= upper:
                allowed = "0 to 1" if upper == 1 else "0 or more"
                raise InputError(f"spec_augment.{name}={value} is out of range: give {allowed}.")
        self.freq_masks, self.freq_width = freq_masks, freq_width
        self.time_masks, self.time_width = time_masks, time_width_seconds * frame_rate
        self.max_time_fraction = max_time_fraction

    def extra_repr(self) -> str:
        return (
            f"freq={self.freq_masks} x {self.freq_width}, time={self.time_masks} x {self.time_width:g}, "
            f"max_time_fraction={self.max_time_fraction}"
        )

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        valid = valid_positions(x)
        lengths = valid.sum(1, keepdim=True).float()
        mean = (filled(x).sum((1, 2)) / (lengths[:, 0] * x.shape[2]))[:, None, None]
        widest = torch.clamp(self.max_time_fraction * lengths, max=self.time_width)
        bands = torch.full_like(lengths, x.shape[2])
        masked = _masks(x.shape[1], lengths, widest, self.time_masks)[:, :, None]
        masked = masked | _masks(x.shape[2], bands, bands.clamp(max=self.freq_width), self.freq_masks)[:, None, :]
        return with_padding(torch.where(masked, mean, x), valid)


def _masks(size: int, lengths: Tensor, widest: Tensor, count: int) -> Tensor:
    """Draws ``count`` intervals for each sound and returns which positions they contain, bool (B, size).

    Args:
        size: number of positions.
        lengths: length of each sound, (B, 1); intervals lie inside.
        widest: largest width of an interval, (B, 1).
        count: number of intervals.
    """
    drawn = torch.rand(2, len(lengths), count, device=lengths.device)
    widths = (drawn[0] * (widest.floor() + 1)).floor().minimum(widest.floor())  # 0 to the largest, equally likely
    starts = (drawn[1] * (lengths - widths + 1)).floor().minimum(lengths - widths)
    positions = torch.arange(size, device=lengths.device)[None, None]
    return ((positions >= starts[..., None]) & (positions < (starts + widths)[..., None])).any(1)


class LogMel(nn.Module):
    """Log-mel spectrogram: sounds (B, S), padded with NaN -> frames (B, T, bands), padded with NaN.

    A sound of n samples has ceil(n / hop) frames; frame t is centred on sample ``t * hop``. As in Whisper, the start of
    the sound is mirrored and its end is followed by silence.

    With ``normalization="whisper"``, frames equal those of ``transformers.WhisperFeatureExtractor``, which appends
    silence up to 30 seconds, except for its remaining frames of silence. Values more than 80 dB below the loudest of
    the sound are raised to that level. Whisper looks for the loudest value also in the first frame after the end, so
    that the results differ if a sound stops abruptly at its loudest.

    Args:
        bands: number of mel bands.
        n_fft: number of samples of a window.
        hop: number of samples from one frame to the next.
        normalization: ``whisper``; ``clip``: mean 0 and standard deviation 1 of each sound, over all bands and frames;
            or ``none``, the logarithm with the scale of Whisper.
        spec_augment: arguments of :class:`SpecAugment`; None: none.

    Raises:
        InputError: if the normalization or an argument of ``spec_augment`` is unknown.
    """

    def __init__(
        self,
        *,
        bands: int = 80,
        n_fft: int = 400,
        hop: int = 160,
        normalization: str = "whisper",
        spec_augment: Mapping[str, float] | None = None,
    ):
        super().__init__()
        if normalization not in NORMALIZATIONS:
            raise InputError(f"normalization={normalization} is unknown: choose {', '.join(NORMALIZATIONS)}.")
        self.bands, self.n_fft, self.hop, self.normalization = bands, n_fft, hop, normalization
        self.augment = made_spec_augment(spec_augment, RATE / hop)
        self.window: Tensor
        self.filters: Tensor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(bands, n_fft), persistent=False)

    def extra_repr(self) -> str:
        return f"bands={self.bands}, n_fft={self.n_fft}, hop={self.hop}, normalization={self.normalization}"

    def forward(self, x: Tensor) -> Tensor:
        valid = valid_positions(x)[:, :: self.hop]
        with torch.autocast(x.device.type, enabled=False):  # powers of 1e-10 do not exist in 16 bits
            frames = self._log_powers(filled(x.float()))
            if self.normalization == "clip":
                count = (valid.sum(1) * self.bands)[:, None, None]
                frames = frames.masked_fill(~valid[..., None], 0.0)
                frames = (frames - frames.sum((1, 2), keepdim=True) / count).masked_fill(~valid[..., None], 0.0)
                frames = frames / (frames.square().sum((1, 2), keepdim=True) / count + 1e-5).sqrt()
            else:
                if self.normalization == "whisper":
                    loudest = frames.masked_fill(~valid[..., None], -torch.inf).amax((1, 2), keepdim=True)
                    frames = torch.maximum(frames, loudest - MAX_RANGE)
                frames = (frames + 4) / 4
        frames = with_padding(frames, valid)
        return frames if self.augment is None else self.augment(frames)

    def _log_powers(self, x: Tensor) -> Tensor:
        """Returns the decimal logarithm of the power of each band, (B, ceil(S / hop), bands)."""
        frames, half = -(-x.shape[1] // self.hop), self.n_fft // 2
        x = F.pad(x[:, None], (half, 0), mode="reflect")[:, 0]
        x = F.pad(x, (0, max((frames - 1) * self.hop + self.n_fft - x.shape[1], 0)))
        spectrum = torch.stft(x, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
        powers = spectrum[:, :, :frames].abs().square().transpose(1, 2) @ self.filters
        return powers.clamp_min(MIN_POWER).log10()


def made_spec_augment(settings: Mapping[str, float] | None, frame_rate: float) -> SpecAugment | None:
    """Returns a :class:`SpecAugment` with these settings; None if there are none.

    Raises:
        InputError: if a setting is unknown or out of range.
    """
    if settings is None:
        return None
    try:
        return SpecAugment(**settings, frame_rate=frame_rate)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(
            f"spec_augment={dict(settings)} has an unknown or missing setting: give freq_masks, freq_width, "
            "time_masks, time_width_seconds and max_time_fraction."
        ) from error
