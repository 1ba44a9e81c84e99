"""Decodes pictures and selected frames of videos, numbered in display order."""

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
from fervid.media.sampling import Around, Numbers, Sampling
from fervid.media.sources import Source, read_bytes

MAX_FRAME_PIXELS = 7680 * 4320  # anything beyond 8K is a mistake or an attack
MAX_PIXEL_ASPECT = 4  # width over height; the widest in use is 3, and values such as 1000 are mistakes
# Formats that can be cut and joined at any byte, so only decoding shows which frames are complete.
CUT_ANYWHERE = {"mpeg", "mpegts", "mpegvideo"}
PROBED_FRAMES = 3  # decoded to check that packets and frames agree
SKIPPABLE = {"h264", "hevc", "mpeg2video", "mpeg4"}  # decoders that return the frames of one packet at a time


class NoStream(ValueError):
    """Raised if a file has no pictures, or no sound track."""


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
        number: index in its clip, from 0, in display order.
        time: seconds after the first frame that can be shown.
        image: uint8 (H, W, 3) RGB as displayed: upright, with square pixels.
    """

    number: int
    time: float
    image: np.ndarray


class ShownFrames(NamedTuple):
    """The frames of a video that can be shown.

    Attributes:
        times: time of each frame, in seconds after the first one.
        order: index of the frame for each presentation timestamp; empty if timestamps do not identify frames, which are
            then counted in the order the decoder returns them.
        begin: time of the first frame in seconds, as the container counts; its sound track may begin at another time.
    """

    times: list[float]
    order: dict[int, int]
    begin: float


def shown_frames(source: Source) -> ShownFrames:
    """Finds the frames of a video that can be shown, without decoding them if its packets are reliable.

    Raises:
        ValueError: as :func:`read_frames`.
        OSError: if it cannot be read.
    """
    try:
        return _survey(source if isinstance(source, Path) else read_bytes(source))
    except (av.FFmpegError, IndexError) as error:
        raise reading_error(error, "video") from error


def read_frames(
    source: Source, sampling: Sampling | Around | Numbers, shown: ShownFrames | None = None
) -> Iterator[Frame]:
    """Decodes the frames selected by a sampling.

    Frames are numbered as a player displays them and as ``ffprobe -show_frames`` lists them, regardless of the metadata
    of the container. Frames hidden by an edit list do not count, nor do undecodable frames at the start of a cut
    recording. The decoder skips frames that are neither selected nor needed to decode others; the selected frames stay
    bit-identical.

    Args:
        source: the video.
        sampling: which frames to decode.
        shown: the frames of this video, if :func:`shown_frames` has found them before.

    Raises:
        ValueError: if the source is not a video, is damaged or too large, or is truncated. Truncation is detected if
            the container states the number of frames, as MP4, MOV and AVI do.
        OSError: if it cannot be read.
    """
    try:
        content = source if isinstance(source, Path) else read_bytes(source)
        shown = shown or _survey(content)
        numbers = sampling.numbers(len(shown.times))
        decoded = 0
        for frame in _decode(content, shown, set(numbers.tolist())):
            decoded += 1
            yield frame
        # A packed AVI counts one or two packets without a frame.
        if decoded < len(numbers) and (shown.order or numbers[decoded] < len(shown.times) - 2):
            raise ValueError(f"damaged: {decoded} of the {len(numbers)} selected frames can be decoded")
    except (av.FFmpegError, IndexError) as error:
        raise reading_error(error, "video") from error


def read_picture(source: Source) -> np.ndarray:
    """Decodes a picture file of any mode to 8-bit RGB: upright (EXIF) and with square pixels.

    The decoder is chosen by content among :data:`fervid.media.formats.PICTURE_FORMATS`. Pixel values are converted by
    :mod:`fervid.media.pixel_values`.

    Args:
        source: the picture.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: if it is not a picture in these formats, is damaged or too large, is an animation or a preview, or
            has ambiguous pixel values.
        OSError: if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            file = source if isinstance(source, Path) else BytesIO(read_bytes(source))
            with Image.open(file, formats=PICTURE_FORMATS) as picture:
                if getattr(picture, "is_animated", False) and picture.format not in ("MPO", "TIFF"):
                    raise ValueError("an animation: save one of its frames as a picture, or all of it as a video")
                rotated = picture.getexif().get(ExifTags.Base.Orientation, 1) > 4  # by 90 degrees for display
                aspect = _pixel_aspect(picture)
                rgb = to_rgb(picture)
                if rotated:
                    return np.ascontiguousarray(_with_square_pixels(rgb.swapaxes(0, 1), aspect).swapaxes(0, 1))
                return _with_square_pixels(rgb, aspect)
    except Exception as error:  # Pillow raises many types, depending on the format
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        reason = re.sub(r" file ('.*'|<.*>)$", " file", first_line(error))
        name = "" if isinstance(source, bytes) else source[-1] if isinstance(source, tuple) else source
        if (suffix := PurePath(name).suffix.lower()) in UNREADABLE_SUFFIXES:
            reason = f"{suffix} is not a supported format: save it as JPEG or PNG"
        raise ValueError(reason) from error


def open_video(source: Source) -> av.container.InputContainer:
    """Opens a video. The demuxer is chosen by content among :data:`fervid.media.formats.VIDEO_FORMATS`.

    Raises:
        ValueError: if it is in another format.
        OSError: if it cannot be read.
    """
    return open_container(source, VIDEO_FORMATS, "video")


def open_container(source: Source, formats: str, kind: str) -> av.container.InputContainer:
    """Opens a video or sound file whose demuxer is chosen by content among ``formats``, separated by commas.

    Args:
        source: the file.
        formats: FFmpeg demuxers that may be chosen. None of them may open other files.
        kind: what the file should be, for messages.

    Raises:
        ValueError: if it is in another format.
        OSError: if it cannot be read.
    """
    # The prefix prevents a name with a colon from being read as a protocol. Playlists could open other files.
    file = f"file:{source}" if isinstance(source, Path) else BytesIO(read_bytes(source))
    options = {"format_whitelist": formats, "protocol_whitelist": "file"}
    try:
        return av.open(
            file, "r", options=options, metadata_errors="replace"
        )  # metadata of old cameras may not be UTF-8
    except av.ArgumentError as error:  # raised for a format outside the list
        raise ValueError(f"not a {kind} in a supported format ({formats.replace(',', ', ')})") from error


def reading_error(error: Exception, kind: str) -> Exception:
    """Returns the exception to raise for an error of FFmpeg: MemoryError, OSError, or ValueError for a damaged file."""
    reason = getattr(error, "strerror", None) or first_line(error)
    if isinstance(error, MemoryError):
        return MemoryError(reason)
    if isinstance(error, OSError) and error.filename:  # raised by opening; later, FFmpeg also reports damage as OSError
        return OSError(error.errno, reason)
    return ValueError(f"not a {kind} that can be decoded ({reason})")


def _pixel_aspect(picture: Image.Image) -> float:
    """Returns the width of a pixel over its height, from different x and y resolutions per inch or metre.

    A ratio without a unit (in JFIF and PNG) is ignored, since FFmpeg writes it inverted compared with the standards.
    """
    across, down = map(float, picture.info.get("dpi", (1, 1)))
    return down / across if across else 1.0


def _survey(content: Path | bytes, decode_all: bool = False) -> ShownFrames:
    """Finds the frames that can be shown, from the packets if they are reliable, otherwise by decoding all of them."""
    with open_video(content) as container:
        if not container.streams.video:
            raise NoStream("has no video stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise ValueError("the codec is unknown to FFmpeg")
        if not context.width * context.height:
            raise ValueError("no frame can be decoded")
        if context.width * context.height > MAX_FRAME_PIXELS:
            raise ValueError(f"frames of {context.width} x {context.height} pixels are too large")
        context.thread_count = 1
        name, key = container.format.name, 0
        started = name not in CUT_ANYWHERE
        decode_all = decode_all or not started
        dts: list[int | None] = []
        pts: list[int | None] = []  # of the packets that are not hidden by an edit list
        decoded: list[int | None] = []  # pts of the decoded frames
        for packet in container.demux(stream):
            if packet.size:
                if not dts:
                    key, decode_all = packet.pts or 0, decode_all or not packet.is_keyframe
                dts.append(packet.dts)
                pts += [] if packet.is_discard else [packet.pts]
            started = started or packet.is_keyframe
            if decode_all or (name != "avi" and len(decoded) < PROBED_FRAMES):
                decoded += [frame.pts for frame in _decode_packet(packet, started)]
        # The index of an MP4 lists only the samples in its edit list; its header also counts the others.
        expected = len(stream.index_entries) if "mp4" in name else stream.frames
        tick, rate = float(stream.time_base or 1), float(stream.average_rate or 25)
    if not dts:
        raise ValueError("has no frames")
    # The header of an AVI also counts frames that the camera dropped; its timestamps are frame numbers.
    found = max(_known(dts), default=-1) + 1 if name == "avi" else len(dts)
    if found < expected - max(2, 0.02 * expected):
        raise ValueError(f"truncated: {found} of {expected} frames")
    # AVI stores only the decoding order.
    identified = name != "avi" and _known(dts) == sorted(set(_known(dts)))
    identified = identified and None not in pts and len(set(pts)) == len(pts) and set(decoded) <= set(pts)
    shown: list[int | None]
    if decode_all:
        if not decoded:
            raise ValueError("no frame can be decoded")
        shown = decoded
    elif name == "avi":
        shown = dts
    else:
        # Frames shown before the first key frame may depend on frames that were cut off; the key frame does not.
        first = decoded[0] if decoded else None
        shown = [stamp for stamp in sorted(_known(pts)) if first is not None and stamp >= first]
        if identified and (first is None or first > max(key, min(_known(pts)))):
            raise ValueError("damaged: the first key frame cannot be decoded")
        if not identified or shown[:PROBED_FRAMES] != decoded[:PROBED_FRAMES]:
            return _survey(content, decode_all=True)
    stamps = _known(shown)
    begin = stamps[0] * tick if stamps else 0.0
    if len(stamps) < len(shown) or stamps != sorted(stamps):  # for example, if recordings were joined
        return ShownFrames([number / rate for number in range(len(shown))], {}, begin)
    order = {stamp: number for number, stamp in enumerate(stamps)}
    times = [(stamp - stamps[0]) * tick for stamp in stamps]
    return ShownFrames(times, order if identified and len(order) == len(stamps) else {}, begin)


def _known(stamps: list[int | None]) -> list[int]:
    return [stamp for stamp in stamps if stamp is not None]


def _decode(content: Path | bytes, shown: ShownFrames, selected: set[int]) -> Iterator[Frame]:
    last = max(selected, default=-1)
    with open_video(content) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1  # parallelism is over clips, not frames
        can_skip = context.name in SKIPPABLE
        stated, coded = stream.sample_aspect_ratio, context.sample_aspect_ratio
        aspects: dict[int | None, Fraction | None] = {}  # of frames that the decoder has not returned yet, by pts
        returned, started = 0, container.format.name not in CUT_ANYWHERE
        for packet in container.demux(stream):
            started = started or packet.is_keyframe
            if shown.order:
                needed = packet.pts is None or shown.order.get(packet.pts, last + 1) in selected
                context.skip_frame = "DEFAULT" if needed or not can_skip else "NONREF"
            frames = _decode_packet(packet, started)
            # The ratio of the container takes precedence; without one, the ratio may change within the stream.
            aspects[packet.pts] = context.sample_aspect_ratio if stated == coded else stated
            for frame in frames:
                aspect = aspects.pop(frame.pts, stated)
                number = shown.order.get(frame.pts, -1) if shown.order else returned
                returned += 1
                if number in selected:
                    image = _with_square_pixels(frame.to_ndarray(format="rgb24"), aspect)
                    turns = round(frame.rotation / 90) % 4  # phones store the orientation as metadata
                    yield Frame(number, shown.times[number], np.ascontiguousarray(np.rot90(image, turns)))
                if number == last:
                    return


def _decode_packet(packet: av.Packet, started: bool) -> list[Any]:
    """Returns the frames completed by a packet; none if it is damaged and precedes the first key frame."""
    try:
        return packet.decode()
    except av.InvalidDataError:
        if started:
            raise
        return []


def _with_square_pixels(image: np.ndarray, aspect: Fraction | float | None) -> np.ndarray:
    """Scales an image horizontally to square pixels, as players display it.

    Args:
        image: uint8 (H, W, 3).
        aspect: width of a pixel over its height. None, 0, implausible ratios and rounding errors are ignored.

    Returns:
        uint8 (H, W * aspect, 3).

    Raises:
        ValueError: if the result would be larger than 8K.
    """
    aspect = float(aspect or 1)
    if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT or abs(aspect - 1) < 0.01:
        return image
    height, width = image.shape[0], max(1, round(image.shape[1] * aspect))
    if width * height > MAX_FRAME_PIXELS:
        raise ValueError(f"pictures of {width} x {height} pixels are too large")
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if aspect > 1 else cv2.INTER_AREA)
