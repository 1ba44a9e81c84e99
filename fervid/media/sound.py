"""Decodes the sound of a clip to mono samples, and reads and writes prepared WAV files."""

import io
import math
import wave
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from fervid.media.decoding import NoStream, open_container, reading_error
from fervid.media.formats import SOUND_FORMATS
from fervid.media.sources import Source, read_bytes

RATE = 16_000  # samples per second, the rate that pretrained speech encoders expect
MAX_SECONDS = 600.0  # a clip shows one emotion; a recording of hours is probably not segmented
MIN_RATE, MAX_RATE = 4_000, 768_000  # samples per second; anything beyond is a mistake in the header
MAX_OVERSHOOT = 2.0  # lossy formats exceed full scale slightly, but larger floating-point values have an unknown scale
FULL_SCALE = 0.9999  # 32,765 of 32,768
# Formats that state the length of their sound exactly, as opposed to an estimate or the length of the pictures.
EXACT_LENGTH = {"aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2"}
TOLERANCE = 0.02  # fraction of a sound that may be missing, since stated lengths include padding
MAX_CHUNKS = 100  # of a WAV file that precede its samples; usual are one to five
# Stated number of bytes from which the length of a WAV file is unknown, since it was written to a pipe: SoX writes this
# number, others 2**31 - 1 or 2**32 - 1.
UNKNOWN_BYTES = 0x7FFFF000
MIN_GAP_SECONDS = 0.1  # shorter jumps of time stamps are rounding errors
MAX_GAP_SECONDS = 3600.0  # longer jumps are mistakes
MAX_DAMAGED_PACKETS = 2  # or the fraction TOLERANCE, if that is more: tags between joined files, bytes after the end


@dataclass(frozen=True)
class Sound:
    """The sound of a clip.

    Attributes:
        samples: float32 (N,), mono, -1 to 1.
        rate: samples per second.
        channels: number of channels of the file.
        source_rate: samples per second of the file.
        peak: largest absolute value of the file in any channel; 1 is full scale.
        clipped: fraction of the samples of the file at full scale or beyond.
    """

    samples: np.ndarray
    rate: int
    channels: int
    source_rate: int
    peak: float
    clipped: float

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate

    @property
    def peak_db(self) -> float:
        """Level of the largest sample after downmixing, in dB relative to full scale; without a constant offset."""
        return decibels(float(np.abs(self.samples - self.samples.mean()).max()))

    @property
    def rms_db(self) -> float:
        """Mean level (root mean square) after downmixing, in dB relative to full scale; without a constant offset."""
        return decibels(float(self.samples.std(dtype=np.float64)))


def decibels(amplitude: float) -> float:
    """Converts an amplitude to dB relative to full scale; -infinity for zero."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def read_sound(source: Source, rate: int = RATE, max_seconds: float = MAX_SECONDS) -> Sound:
    """Decodes the first sound track of a sound file or video; see :class:`SoundStream`.

    Raises:
        ValueError: as iterating over a :class:`SoundStream`, or if the sound is too long.
        OSError: if the source cannot be read.
    """
    stream = SoundStream(source, rate, max_seconds)
    joined = np.concatenate([np.empty(0, np.float32), *(piece.samples for piece in stream)])
    return Sound(joined, rate, stream.channels, stream.source_rate, stream.peak, stream.clipped)


class SoundPiece(NamedTuple):
    """Consecutive samples of a sound.

    Attributes:
        start: number of the first sample, counted from time 0 of the container; may be negative.
        samples: float32 (N,), mono, -1 to 1.
    """

    start: int
    samples: np.ndarray


class SoundStream:
    """Decodes the first sound track of a sound file or video piece by piece: the mean of its channels, resampled.

    The demuxer is chosen by content among :data:`fervid.media.formats.SOUND_FORMATS`. Sound that already has the rate
    is not resampled. Joined, the pieces are the whole sound; their positions state when each of them is played, since a
    track may begin late and its time stamps may jump.

    Args:
        source: the sound file or video.
        rate: samples per second of the pieces.
        max_seconds: maximum duration; decoding stops there.

    Attributes:
        channels, source_rate: number of channels and samples per second of the file.
        peak: largest absolute value so far in any channel; 1 is full scale.
    """

    def __init__(self, source: Source, rate: int = RATE, max_seconds: float = math.inf):
        self.source, self.rate, self.max_seconds = source, rate, max_seconds
        self.channels, self.source_rate, self.peak = 0, 0, 0.0
        self._full, self._values = 0, 0  # number of samples of the file at full scale, and of all samples
        self._seconds, self._end = 0.0, 0.0  # decoded, and time at which the last frame ends

    @property
    def clipped(self) -> float:
        """Fraction of the samples of the file so far at full scale or beyond."""
        return self._full / max(self._values, 1)

    def __iter__(self) -> Iterator[SoundPiece]:
        """Yields the pieces in order.

        Raises:
            ValueError: if the source has no sound track, is damaged, truncated or too long, or has values of unknown
                scale. Truncation is detected at the end, in formats that state their length exactly, such as WAV, FLAC
                and MP4.
            OSError: if it cannot be read.
        """
        content = self.source if isinstance(self.source, Path) else read_bytes(self.source)
        try:
            with open_container(content, SOUND_FORMATS, "sound file or video") as container:
                if not container.streams.audio:
                    raise NoStream("has no sound track")
                stream = container.streams.audio[0]
                if stream.codec_context is None:
                    raise ValueError("the codec of the sound track is unknown to FFmpeg")
                stream.codec_context.thread_count = 1  # parallelism is over clips
                exact = container.format.name in EXACT_LENGTH
                stated = float((stream.duration or 0) * (stream.time_base or 0)) if exact else 0.0
                begin = float((stream.start_time or 0) * (stream.time_base or 0))
                yield from self._pieces(_decode(container, stream), begin)
        except (av.FFmpegError, IndexError) as error:
            raise reading_error(error, "sound file or video") from error
        if (share := _present_in_wav(content)) < 1 - TOLERANCE:
            raise ValueError(f"truncated: only {share:.0%} of its samples are present")
        if not self._values:
            raise ValueError("has a sound track without samples")
        present = max(self._end - begin, self._seconds)  # the time stamps may jump, and the gap is closed
        if present < stated - max(0.1, TOLERANCE * stated):
            raise ValueError(f"truncated: only {present:.2f} of {stated:.2f} s of sound are present")

    def _pieces(self, frames: Iterator[tuple[int, np.ndarray, float | None]], begin: float) -> Iterator[SoundPiece]:
        """Mixes and resamples the samples of all frames."""
        resampler, places = None, _Places(self.rate)
        for frame_rate, samples, time in frames:
            self._check(frame_rate, samples)
            if frame_rate != self.source_rate:  # some decoders learn the rate only from the second frame
                yield from places.place(_flush(resampler))
                resampler = _Resampler(frame_rate, self.rate) if frame_rate != self.rate else None
                self.source_rate = frame_rate
            places.see(self._seconds, begin + self._seconds if time is None else time)
            length = samples.shape[1] / frame_rate
            self._seconds, self._end = self._seconds + length, max(self._end, (time or 0.0) + length)
            if self._seconds > self.max_seconds:
                raise ValueError(f"longer than {self.max_seconds:g} s: cut it into clips")
            mono = samples.mean(axis=0, dtype=np.float32)
            yield from places.place(resampler.add(mono) if resampler else [mono])
        yield from places.place(_flush(resampler))

    def _check(self, rate: int, samples: np.ndarray) -> None:
        """Checks the rate and the samples of a frame, and measures their levels."""
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"{rate} samples per second are outside {MIN_RATE} to {MAX_RATE}")
        if not np.isfinite(samples).all():
            raise ValueError("has samples that are not numbers: save it with 16 bits")
        level = np.abs(samples)
        self.channels = max(self.channels, len(samples))
        self.peak = max(self.peak, float(level.max(initial=0)))
        self._full += int((level >= FULL_SCALE).sum())
        self._values += samples.size
        if self.peak > MAX_OVERSHOOT:
            raise ValueError(
                f"the scale of its samples, up to {self.peak:g} instead of 1, is ambiguous: save it with 16 bits"
            )


class _Places:
    """Numbers the samples of a sound by the times at which they are played."""

    def __init__(self, rate: int):
        self._rate = rate
        self._placed = 0  # number of samples
        self._jumps: deque[tuple[int, int]] = deque()  # samples before a jump of the times, and the shift after it
        self._shift: int | None = None  # of the samples seen last

    def see(self, seconds: float, time: float) -> None:
        """Compares the time of a frame with the seconds of sound before it."""
        shift = round((time - seconds) * self._rate)
        if self._shift is None or MIN_GAP_SECONDS < (shift - self._shift) / self._rate < MAX_GAP_SECONDS:
            self._jumps.append((round(seconds * self._rate), shift))
            self._shift = shift

    def place(self, chunks: list[np.ndarray]) -> Iterator[SoundPiece]:
        """Yields chunks of samples with their positions, divided where the times jump."""
        for chunk in chunks:
            while len(chunk):
                while len(self._jumps) > 1 and self._jumps[1][0] <= self._placed:
                    self._jumps.popleft()
                until = self._jumps[1][0] - self._placed if len(self._jumps) > 1 else len(chunk)
                piece, chunk = chunk[:until], chunk[until:]
                yield SoundPiece(self._placed + self._jumps[0][1], piece)
                self._placed += len(piece)


def _present_in_wav(content: Path | bytes) -> float:
    """Returns the fraction of the samples of a WAV file that are present; 1 for other files and if it is unknown.

    FFmpeg shortens the stated duration of such a file to what is present.
    """
    with open(content, "rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        start = file.read(12)
        if (start[:4], start[8:]) != (b"RIFF", b"WAVE"):
            return 1.0
        for _ in range(MAX_CHUNKS):
            name, size = file.read(4), int.from_bytes(file.read(4), "little")
            at = file.tell()
            if name == b"data":
                return 1.0 if size == 0 or size >= UNKNOWN_BYTES else (file.seek(0, io.SEEK_END) - at) / size
            file.seek(at + size + size % 2)
    return 1.0


def _decode(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[tuple[int, np.ndarray, float | None]]:
    """Yields the rate, the samples, float32 (channels, N), and the time in seconds of each frame; 1 is full scale."""
    started, packets, damaged = False, 0, 0
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += started  # recordings cut from a stream may begin within a frame
            continue
        for frame in frames:
            started = True
            values: np.ndarray = frame.to_ndarray()
            if not frame.format.is_planar:
                values = values.reshape(-1, frame.layout.nb_channels).T
            if values.dtype == np.uint8:
                samples = (values.astype(np.float32) - 128) / 128
            elif np.issubdtype(values.dtype, np.integer):
                samples = (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
            else:
                samples = values.astype(np.float32)
            yield frame.sample_rate, samples, frame.time
    if damaged > max(MAX_DAMAGED_PACKETS, TOLERANCE * packets):
        raise ValueError(f"damaged: {damaged} of {packets} packets of its sound cannot be decoded")


class _Resampler:
    """Resamples mono sound piece by piece."""

    def __init__(self, source_rate: int, rate: int):
        self._source_rate = source_rate
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)

    def add(self, mono: np.ndarray) -> list[np.ndarray]:
        """Resamples some samples; the last of them may be returned later."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono[None]), format="flt", layout="mono")
        frame.sample_rate = self._source_rate
        return [frame.to_ndarray()[0] for frame in self._resampler.resample(frame)]

    def flush(self) -> list[np.ndarray]:
        """Returns the remaining samples."""
        return [frame.to_ndarray()[0] for frame in self._resampler.resample(None)]


def _flush(resampler: _Resampler | None) -> list[np.ndarray]:
    return resampler.flush() if resampler else []


def as_integers(samples: np.ndarray) -> np.ndarray:
    """Rounds samples, (N,) from -1 to 1, to int16 as stored in prepared WAV files."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Encodes samples, (N,) from -1 to 1, as a mono WAV file of 16 bits; sound read from such a file is unchanged."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(as_integers(samples).astype("<i2").tobytes())
    return file.getvalue()


def read_wav(path: Path) -> np.ndarray:
    """Reads a file written by :func:`encode_wav`.

    Returns:
        float32 (N,) from -1 to 1.

    Raises:
        ValueError: if it is not a mono WAV file of 16 bits, or is truncated.
        OSError: if it cannot be read.
    """
    try:
        with wave.open(str(path), "rb") as reader:
            if (reader.getnchannels(), reader.getsampwidth()) != (1, 2):
                raise ValueError("not a mono WAV file of 16 bits")
            content, length = reader.readframes(reader.getnframes()), reader.getnframes()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"not a WAV file ({error})") from error
    if len(content) < 2 * length:
        raise ValueError("truncated")
    return np.frombuffer(content, "<i2").astype(np.float32) / 32768
