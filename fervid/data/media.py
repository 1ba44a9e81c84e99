"""Which files are pictures and which are videos: by their suffix, or by their first bytes.

Suffixes of kinds that nothing here can decode are listed too: such a file is read, fails and is reported by name, where
an unknown suffix would only be counted.
"""

import mimetypes
from collections.abc import Callable
from pathlib import PurePosixPath

from PIL import Image

Image.init()
_WANTED = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
PICTURE_FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
"""What Pillow may open; a file's content chooses among these alone. Others start programs (EPS) or are drawings."""

VIDEO_FORMATS = "asf,avi,dv,flv,matroska,mov,mpeg,mpegts,mpegvideo,mxf,ogg,rm,yuv4mpegpipe"
"""FFmpeg's demuxers that may be chosen by a file's content: none of them opens other files or the network."""

# TGA has no mark at its start, so that anything could be taken for it: Pillow is not asked.
UNREADABLE_SUFFIXES = set(
    ".arw .cr2 .cr3 .dng .exr .hdr .heic .heif .hif .jxl .nef .orf .psd .raf .rw2 .svg .tga".split()
)
PICTURE_SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in PICTURE_FORMATS}
PICTURE_SUFFIXES |= UNREADABLE_SUFFIXES | {".avif", ".mpo"}
VIDEO_SUFFIXES = set(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m1v .m2t .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm "
    ".ogv .qt .rm .rmvb .swf .ts .vob .webm .wmv .y4m".split()
)
ARCHIVE_SUFFIXES = {".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zst"}  # beside .zip, which is read
HEAD_BYTES = 200
_TYPES = mimetypes.MimeTypes(filenames=())  # Python's own: the lists of a machine differ from those of another

_BY_PILLOW = {
    "AVIF": ".avif",
    "GIF": ".gif",
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
}
"""Formats whose mark Pillow tests. Those of BMP (``BM``) and PPM (``P`` and a digit) begin texts as well."""

_SIGNATURES = (
    (6, b"\0\0\0\0", 0, b"BM", ".bmp"),
    (0, b"P5\n", 0, b"", ".pgm"),
    (0, b"P6\n", 0, b"", ".ppm"),
    (0, b"8BPS", 0, b"", ".psd"),
    (0, b"\xff\x0a", 0, b"", ".jxl"),
    (4, b"JXL \r\n", 0, b"", ".jxl"),
    (4, b"ftyphe", 0, b"", ".heic"),
    (4, b"ftypmif1", 0, b"", ".heic"),
    (4, b"ftypM4A", 0, b"", ".m4a"),
    (4, b"ftyp", 0, b"", ".mp4"),
    (4, b"moov", 0, b"", ".mov"),
    (4, b"mdat", 0, b"", ".mov"),
    (4, b"wide", 0, b"", ".mov"),
    (8, b"AVI ", 0, b"RIFF", ".avi"),
    (0, b"\x1aE\xdf\xa3", 0, b"", ".mkv"),
    (0, b"FLV\x01", 0, b"", ".flv"),
    (0, b"\0\0\x01\xba", 0, b"", ".mpg"),
    (0, b"\0\0\x01\xb3", 0, b"", ".mpg"),
    (0, b"G", 188, b"G", ".ts"),
    (4, b"G", 196, b"G", ".m2ts"),
    (0, bytes.fromhex("3026b2758e66cf11"), 0, b"", ".wmv"),
    (0, bytes.fromhex("060e2b34020501"), 0, b"", ".mxf"),
    (0, b".RMF", 0, b"", ".rm"),
    (0, b"YUV4MPEG2 ", 0, b"", ".y4m"),
)
"""Two marks and where they stand. Ogg is not among them: it may as well be sound."""


def media_suffix(name: str, head: Callable[[], bytes]) -> str:
    """The suffix of a file, in lower case; by its content if it has none, or one that is unknown.

    Args:
        name: of the file.
        head: reads its first :data:`HEAD_BYTES`.
    """
    suffix = PurePosixPath(name).suffix.lower()
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES | ARCHIVE_SUFFIXES | {".zip"}
    if suffix in known or (suffix and _TYPES.guess_type(f"x{suffix}")[0]):
        return suffix
    start = head()
    for name, found in _BY_PILLOW.items():
        _, accepts = Image.OPEN.get(name, (None, None))
        # Pillow answers with a sentence where this build of it lacks the decoder.
        if accepts and accepts(start[:16]) is True:
            return found
    for first, mark, second, other, found in _SIGNATURES:
        if start[first:].startswith(mark) and start[second:].startswith(other):
            return found
    return suffix
