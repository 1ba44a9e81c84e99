"""Decodes pictures, and the wanted frames of videos, by their number as shown."""

import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from PIL import ExifTags, Image

from fervid.errors import first_line
from fervid.media.formats import PICTURE_FORMATS, UNREADABLE_SUFFIXES, VIDEO_FORMATS
from fervid.media.pixel_values import to_rgb
from fervid.media.sampling import Around, Sampling
from fervid.media.sources import Source, read_bytes

MOST_PIXELS = 7680 * 4320  # a frame; beyond 8K it is a mistake or an attack
MAX_PIXEL_ASPECT = 4  # sides of a pixel; the widest in use are 3 times as wide as high, 1000:1 is a mistake
# Recordings that are cut and joined at any byte: only decoding tells what is left.
CUT_ANYWHERE = {"mpeg", "mpegts", "mpegvideo"}
PROBED_FRAMES = 3  # are decoded to see that packets and frames agree
SKIPPABLE = {"h264", "hevc", "mpeg2video", "mpeg4"}  # decoders that answer one packet at a time


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
        number: in its clip, from 0, in the order of showing.
        time: in seconds after the first frame that can be shown.
        image: uint8 (H, W, 3) RGB as displayed: upright, with square pixels.
    """

    number: int
    time: float
    image: np.ndarray


def read_frames(source: Source, sampling: Sampling | Around) -> Iterator[Frame]:
    """Decodes the frames a sampling wants.

    Frames are numbered as a player shows them (and as ``ffprobe -show_frames`` lists them), whatever the container
    promises: what an edit list hides does not count, nor do frames at the start of a cut recording that nothing can
    decode. Frames that are neither wanted nor needed to decode others are skipped inside the decoder: the wanted ones
    stay the same to the bit.

    Args:
        source: the video.
        sampling: what is wanted.

    Raises:
        ValueError: if the source is no video, damaged, of absurd size, or truncated, where its container says how many
            frames there should be (MP4, MOV and AVI do).
        OSError: if it cannot be read.
    """
    try:
        content = source if isinstance(source, Path) else read_bytes(source)
        shown = _survey(content)
        numbers = sampling.numbers(len(shown.times))
        got = 0
        for frame in _decode(content, shown, set(numbers.tolist())):
            got += 1
            yield frame
        # A packed AVI counts a packet or two that hold no frame of their own.
        if got < len(numbers) and (shown.order or numbers[got] < len(shown.times) - 2):
            raise ValueError(f"damaged: {got} of the {len(numbers)} wanted frames can be decoded")
    except (av.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        if isinstance(error, MemoryError):
            raise MemoryError(reason) from error
        if isinstance(error, OSError) and error.filename:  # of opening; later FFmpeg gives damage such names too
            raise OSError(error.errno, reason) from error
        raise ValueError(f"no video that can be decoded ({reason})") from error


def read_picture(source: Source) -> np.ndarray:
    """Decodes a picture file: upright (EXIF), with square pixels, in 8-bit RGB whatever its mode.

    The content alone chooses the decoder, among :data:`fervid.media.formats.PICTURE_FORMATS`.
    :mod:`fervid.media.pixel_values` decides what the values of a mode mean.

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
                turned = picture.getexif().get(ExifTags.Base.Orientation, 1) > 4  # by a quarter, as displayed
                aspect = _pixel_aspect(picture)
                rgb = to_rgb(picture)
                if turned:
                    return np.ascontiguousarray(_with_square_pixels(rgb.swapaxes(0, 1), aspect).swapaxes(0, 1))
                return _with_square_pixels(rgb, aspect)
    except Exception as error:  # Pillow has a kind of its own for every format, and for bombs
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        reason = re.sub(r" file ('.*'|<.*>)$", " file", first_line(error))
        name = "" if isinstance(source, bytes) else source[-1] if isinstance(source, tuple) else source
        if (suffix := PurePath(name).suffix.lower()) in UNREADABLE_SUFFIXES:
            reason = f"{suffix} is not a format that can be read: save it as JPEG or PNG"
        raise ValueError(reason) from error


def open_video(source: Source) -> av.container.InputContainer:
    """Opens a video; the content alone chooses the demuxer, among :data:`fervid.media.formats.VIDEO_FORMATS`.

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


def _pixel_aspect(picture: Image.Image) -> float:
    """Width of a pixel over its height, where a file states resolutions per inch or metre that differ in x and y.

    A ratio without a unit (JFIF and PNG have one) is not used: FFmpeg writes it the other way round than the standards.
    """
    across, down = map(float, picture.info.get("dpi", (1, 1)))
    return down / across if across else 1.0


class _Shown(NamedTuple):
    """The frames of a video that can be shown.

    Attributes:
        times: of each frame, in seconds after the first one.
        order: the number of the frame with a presentation timestamp; empty if timestamps do not identify frames, which
            are then counted as the decoder returns them.
    """

    times: list[float]
    order: dict[int, int]


def _survey(content: Path | bytes, decode_all: bool = False) -> _Shown:
    """Finds the frames that can be shown: by the packets where they can be trusted, otherwise by decoding them all."""
    with open_video(content) as container:
        if not container.streams.video:
            raise ValueError("no video in it")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise ValueError("a codec that FFmpeg does not know")
        if not context.width * context.height:
            raise ValueError("no frame in it can be decoded")
        if context.width * context.height > MOST_PIXELS:
            raise ValueError(f"frames of {context.width} x {context.height} pixels")
        context.thread_count = 1
        name, key = container.format.name, 0
        started = name not in CUT_ANYWHERE
        decode_all = decode_all or not started
        dts: list[int | None] = []
        pts: list[int | None] = []  # of the packets that no edit list hides
        decoded: list[int | None] = []  # pts of the frames that the decoder returns
        for packet in container.demux(stream):
            if packet.size:
                if not dts:
                    key, decode_all = packet.pts or 0, decode_all or not packet.is_keyframe
                dts.append(packet.dts)
                pts += [] if packet.is_discard else [packet.pts]
            started = started or packet.is_keyframe
            if decode_all or (name != "avi" and len(decoded) < PROBED_FRAMES):
                decoded += [frame.pts for frame in _decode_packet(packet, started)]
        # The index of an MP4 lists the samples that its edit list leaves; its header counts those cut off, too.
        promised = len(stream.index_entries) if "mp4" in name else stream.frames
        tick, rate = float(stream.time_base or 1), float(stream.average_rate or 25)
    if not dts:
        raise ValueError("no frame in it")
    # The header of an AVI counts frames that the camera dropped, too, and its timestamps count frames.
    found = max(_known(dts), default=-1) + 1 if name == "avi" else len(dts)
    if found < promised - max(2, 0.02 * promised):
        raise ValueError(f"truncated: {found} of {promised} frames")
    # AVI has the order of decoding alone.
    identified = name != "avi" and _known(dts) == sorted(set(_known(dts)))
    identified = identified and None not in pts and len(set(pts)) == len(pts) and set(decoded) <= set(pts)
    shown: list[int | None]
    if decode_all:
        if not decoded:
            raise ValueError("no frame in it can be decoded")
        shown = decoded
    elif name == "avi":
        shown = dts
    else:
        # What is shown before the first key frame may need frames that were cut off; the key frame itself does not.
        first = decoded[0] if decoded else None
        shown = [stamp for stamp in sorted(_known(pts)) if first is not None and stamp >= first]
        if identified and (first is None or first > max(key, min(_known(pts)))):
            raise ValueError("damaged: the first key frame cannot be decoded")
        if not identified or shown[:PROBED_FRAMES] != decoded[:PROBED_FRAMES]:
            return _survey(content, decode_all=True)
    stamps = _known(shown)
    if len(stamps) < len(shown) or stamps != sorted(stamps):  # as where recordings were joined
        return _Shown([number / rate for number in range(len(shown))], {})
    order = {stamp: number for number, stamp in enumerate(stamps)}
    times = [(stamp - stamps[0]) * tick for stamp in stamps]
    return _Shown(times, order if identified and len(order) == len(stamps) else {})


def _known(stamps: list[int | None]) -> list[int]:
    return [stamp for stamp in stamps if stamp is not None]


def _decode(content: Path | bytes, shown: _Shown, wanted: set[int]) -> Iterator[Frame]:
    last = max(wanted, default=-1)
    with open_video(content) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1  # clips, not frames, are shared out over the cores
        can_skip = context.name in SKIPPABLE
        stated, coded = stream.sample_aspect_ratio, context.sample_aspect_ratio
        aspects: dict[int | None, Fraction | None] = {}  # of the frames that the decoder keeps back, by their pts
        returned, started = 0, container.format.name not in CUT_ANYWHERE
        for packet in container.demux(stream):
            started = started or packet.is_keyframe
            if shown.order:
                needed = packet.pts is None or shown.order.get(packet.pts, last + 1) in wanted
                context.skip_frame = "DEFAULT" if needed or not can_skip else "NONREF"
            frames = _decode_packet(packet, started)
            # The container's ratio counts; where it has none of its own, the ratio may change on the way.
            aspects[packet.pts] = context.sample_aspect_ratio if stated == coded else stated
            for frame in frames:
                aspect = aspects.pop(frame.pts, stated)
                number = shown.order.get(frame.pts, -1) if shown.order else returned
                returned += 1
                if number in wanted:
                    image = _with_square_pixels(frame.to_ndarray(format="rgb24"), aspect)
                    turns = round(frame.rotation / 90) % 4  # phones film upright by a note in the file
                    yield Frame(number, shown.times[number], np.ascontiguousarray(np.rot90(image, turns)))
                if number == last:
                    return


def _decode_packet(packet: av.Packet, started: bool) -> list[Any]:
    """The frames that a packet completes; none if it is damaged before a recording has started with a key frame."""
    try:
        return packet.decode()
    except av.InvalidDataError:
        if started:
            raise
        return []


def _with_square_pixels(image: np.ndarray, aspect: Fraction | float | None) -> np.ndarray:
    """Scales an image to the width at which players show it; its height stays.

    Args:
        image: uint8 (H, W, 3).
        aspect: width of a pixel over its height. None, 0, an absurd ratio and a rounding error change nothing.

    Returns:
        uint8 (H, W * aspect, 3).

    Raises:
        ValueError: if that makes the image larger than 8K.
    """
    aspect = float(aspect or 1)
    if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT or abs(aspect - 1) < 0.01:
        return image
    height, width = image.shape[0], max(1, round(image.shape[1] * aspect))
    if width * height > MOST_PIXELS:
        raise ValueError(f"pictures of {width} x {height} pixels")
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if aspect > 1 else cv2.INTER_AREA)
