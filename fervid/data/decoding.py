"""Decodes pictures, and the wanted frames of videos, by their number as shown."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

import av
import numpy as np
from PIL import Image

from fervid.data.archives import Member, read_member
from fervid.data.media import PICTURE_FORMATS, UNREADABLE_SUFFIXES, VIDEO_FORMATS
from fervid.data.pixel_values import to_rgb
from fervid.errors import InputError, first_line

Source = Path | Member | bytes
"""Where a clip or picture lies: a file, a member of a zip, or its bytes."""

MOST_PIXELS = 7680 * 4320  # a frame; beyond 8K it is a mistake or an attack
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
        with open_video(source) as container:
            if not container.streams.video:
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
    """Decodes a picture file: upright (EXIF), in 8-bit RGB whatever its mode (see :mod:`fervid.data.pixel_values`).

    The content alone chooses the decoder, among :data:`fervid.data.media.PICTURE_FORMATS`.

    Args:
        source: the picture.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: if it is no picture of these formats, damaged, of absurd size, an animation, a preview, or its
            values may mean several things.
        OSError: if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            file = source if isinstance(source, Path) else BytesIO(read_bytes(source))
            with Image.open(file, formats=PICTURE_FORMATS) as picture:
                if getattr(picture, "is_animated", False) and picture.format not in ("MPO", "TIFF"):
                    raise ValueError("an animation: save one of its frames as a picture, or all of it as a video")
                return to_rgb(picture)
    except Exception as error:  # Pillow has a kind of its own for every format, and for bombs
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        reason = re.sub(r" file ('.*'|<.*>)$", " file", first_line(error))
        name = "" if isinstance(source, bytes) else source[-1] if isinstance(source, tuple) else source
        if (suffix := PurePath(name).suffix.lower()) in UNREADABLE_SUFFIXES:
            reason = f"{suffix} is not a format that can be read: save it as JPEG or PNG"
        raise ValueError(reason) from error


def open_video(source: Source) -> av.container.InputContainer:
    """Opens a video; the content alone chooses the demuxer, among :data:`fervid.data.media.VIDEO_FORMATS`.

    Raises:
        ValueError: if its format is none of them.
        OSError: if it cannot be read.
    """
    # With the prefix a name with a colon is no protocol. Playlists and the like would open other files.
    file = f"file:{source}" if isinstance(source, Path) else BytesIO(read_bytes(source))
    options = {"format_whitelist": VIDEO_FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(file, "r", options=options, metadata_errors="replace")  # old cameras used other alphabets
    except av.ArgumentError as error:  # what FFmpeg says of a format outside the list
        raise ValueError(f"no video in it, or its format is not read ({VIDEO_FORMATS.replace(',', ', ')})") from error


def _decode(source: Source, wanted: set[int], order: dict[int | None, int]) -> Iterator[Frame]:
    last = max(wanted, default=-1)
    with open_video(source) as container:
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


def read_bytes(source: Source) -> bytes:
    """All of a file, zip member or bytes.

    Raises:
        ValueError: if a zip is damaged, or a member is larger than 1 GiB or a hundred times as large as packed.
        OSError: if a file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else read_member(source)
