"""Decodes pictures, and the wanted frames of videos, by their number as shown."""

import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from PIL import Image, ImageOps

from fervid.errors import InputError, first_line

Source = Path | tuple[Path, str] | bytes
"""Where a clip or picture lies: a file, a member of a zip, or its bytes."""

PICTURE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VIDEO_SUFFIXES = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"}
MOST_PIXELS = 7680 * 4320  # a frame; beyond 8K it is a mistake or an attack
MOST_BYTES = 2**30  # of one member of a zip, which is read into memory
MOST_UNPACKED = 100  # times as large as packed: videos and pictures hardly shrink, bombs do
SKIPPABLE = {"h264", "hevc", "mpeg2video", "mpeg4"}  # decoders that answer one packet at a time


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
        number: in its clip, from 0, in the order of showing.
        time: seconds from the start of the clip.
        image: uint8 (H, W, 3) RGB, upright.
    """

    number: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are taken.

    Args:
        every: each so manieth frame of the window.
        count: instead of ``every``: so many, evenly over the window; all of it, if it is shorter.
        window: ``all`` or ``centre``, the middle half, where an acted emotion is at its height.

    Raises:
        InputError: if a number is below 1 or the window unknown.
    """

    every: int = 10
    count: int | None = None
    window: Literal["all", "centre"] = "all"

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("count", self.count)):
            if value is not None and (isinstance(value, bool | str) or value < 1 or int(value) != value):
                raise InputError(f"dataset.{name}={value} is no number of frames: give 1 or more.")
        if self.window not in ("all", "centre"):
            raise InputError(f"dataset.window={self.window} is unknown: choose all or centre.")

    def numbers(self, frames: int) -> np.ndarray:
        """Which of so many frames, as sorted numbers from 0."""
        first, end = (frames // 4, frames - frames // 4) if self.window == "centre" else (0, frames)
        if self.count is None:
            return np.arange(first, end, int(self.every))
        # The middles of equal parts: neither end of a clip, where actors rest, is favoured.
        parts = np.linspace(first, end, min(int(self.count), end - first) + 1)
        return ((parts[:-1] + parts[1:]) / 2).astype(int)


@dataclass(frozen=True)
class Around:
    """The frames around a given one.

    Args:
        frame: its number, from 0.
        reach: so many before it and after it.
    """

    frame: int
    reach: int = 0

    def numbers(self, frames: int) -> np.ndarray:
        """Which of so many frames, as sorted numbers from 0."""
        return np.arange(max(self.frame - self.reach, 0), min(self.frame + self.reach + 1, frames))


def read_frames(source: Source, sampling: Sampling | Around) -> Iterator[Frame]:
    """Decodes the frames a sampling wants.

    The packets are counted first, so that a frame's number is exact whatever the container says. Frames that are
    neither wanted nor needed to decode others are skipped inside the decoder: the wanted ones stay the same to the bit.

    Args:
        source: the video.
        sampling: what is wanted.

    Raises:
        ValueError: if the source is no video, damaged, of absurd size, or truncated, where its container says how many
            frames there should be (MP4, MOV and AVI do).
        OSError: if it cannot be read.
    """
    try:
        with _open(source) as container:
            if not container.streams.video or container.format.name.endswith(("_pipe", "image2")):
                raise ValueError("no video in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("a codec that FFmpeg does not know")
            pixels = stream.codec_context.width * stream.codec_context.height
            if not 0 < pixels <= MOST_PIXELS:
                raise ValueError(f"frames of {stream.codec_context.width} x {stream.codec_context.height} pixels")
            stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
            promised = stream.frames
            avi = container.format.name == "avi"
        if not stamps:
            raise ValueError("no frame in it")
        if len(stamps) < promised - max(2, 0.02 * promised):
            raise ValueError(f"truncated: {len(stamps)} of {promised} frames")
        numbers = sampling.numbers(len(stamps))
        # AVI keeps the order of decoding alone: nothing can be skipped, and frames are counted as they come.
        stamped = not avi and None not in stamps and len(set(stamps)) == len(stamps)
        order = {stamp: number for number, stamp in enumerate(sorted(stamps))} if stamped else {}  # type: ignore[type-var]
        got = 0
        for frame in _decode(source, set(numbers.tolist()), order):
            got += 1
            yield frame
        # A packed AVI counts a packet or two that hold no frame of their own.
        if got < len(numbers) and (stamped or numbers[got] < len(stamps) - 2):
            raise ValueError(f"damaged: {got} of the {len(numbers)} wanted frames can be decoded")
    except (av.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        if isinstance(error, MemoryError):
            raise MemoryError(reason) from error
        if isinstance(error, OSError) and error.filename:  # of opening; later FFmpeg gives damage such names too
            raise OSError(error.errno, reason) from error
        raise ValueError(f"no video that can be decoded ({reason})") from error


def read_picture(source: Source) -> np.ndarray:
    """Decodes a picture file, upright (EXIF), in RGB, 16-bit greys brought down to 8.

    Args:
        source: the picture.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: if it is no picture, damaged, or of absurd size.
        OSError: if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source if isinstance(source, Path) else BytesIO(read_bytes(source))) as file:
                picture = ImageOps.exif_transpose(file)
                if picture.mode.startswith("I"):
                    grey = (np.asarray(picture, dtype=np.float32) / 257).clip(0, 255).astype(np.uint8)
                    return np.stack([grey] * 3, axis=-1)
                if "transparency" in picture.info:  # or Pillow warns of what is about to be dropped anyway
                    picture = picture.convert("RGBA")
                return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow has a kind of its own for every format, and for bombs
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        raise ValueError(re.sub(r" file ('.*'|<.*>)$", " file", first_line(error))) from error


def _decode(source: Source, wanted: set[int], order: dict[int | None, int]) -> Iterator[Frame]:
    last = max(wanted, default=-1)
    with _open(source) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1  # clips, not frames, are shared out over the cores
        can_skip = context.name in SKIPPABLE
        rate = float(stream.average_rate or 25)
        start, shown = None, 0
        for packet in container.demux(stream):
            if order:
                needed = order.get(packet.pts, last + 1) in wanted or packet.pts is None
                context.skip_frame = "DEFAULT" if needed or not can_skip else "NONREF"
            for frame in packet.decode():
                number = order.get(frame.pts, -1) if order else shown
                time = frame.time if order and frame.time is not None else shown / rate
                start = time if start is None else start
                shown += 1
                if number in wanted:
                    image = frame.to_ndarray(format="rgb24")
                    turns = round(frame.rotation / 90) % 4  # phones film upright by a note in the file
                    yield Frame(number, time - start, np.ascontiguousarray(np.rot90(image, turns)))
                if number == last:
                    return


def _open(source: Source) -> av.container.InputContainer:
    file = str(source) if isinstance(source, Path) else BytesIO(read_bytes(source))
    return av.open(file, "r", metadata_errors="replace")  # old cameras wrote their names in other alphabets


def read_bytes(source: Source) -> bytes:
    """All of a file, zip member or bytes.

    Raises:
        ValueError: if a zip is damaged, or a member is larger than 1 GiB or a hundred times as large as packed.
        OSError: if a file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        return source.read_bytes()
    archive, member = source
    try:
        with zipfile.ZipFile(archive) as file:
            info = file.getinfo(member)
            if info.file_size > MOST_BYTES or info.file_size > max(2**20, MOST_UNPACKED * info.compress_size):
                raise ValueError(
                    f"unpacks to {info.file_size / 2**20:.0f} MiB from {info.compress_size / 2**20:.2f} MiB"
                )
            return file.read(member)  # checks length and sum against what the archive says
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"cannot be unpacked ({first_line(error)})") from error
