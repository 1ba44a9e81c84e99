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
HEAD_BYTES = 16
_TYPES = mimetypes.MimeTypes(filenames=())  # Python's own: the lists of a machine differ from those of another

_SIGNATURES = (
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"GIF8", ".gif"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (8, b"WEBP", ".webp"),
    (4, b"jP  \r\n", ".jp2"),
    (4, b"ftypavi", ".avif"),
    (4, b"ftyphe", ".heic"),
    (4, b"ftypmif1", ".heic"),
    (4, b"ftypM4A", ".m4a"),
    (4, b"ftyp", ".mp4"),
    (8, b"AVI ", ".avi"),
    (0, b"\x1aE\xdf\xa3", ".mkv"),
    (0, b"FLV\x01", ".flv"),
    (0, b"\0\0\x01\xba", ".mpg"),
)


def media_suffix(name: str, head: Callable[[], bytes]) -> str:
    """The suffix of a file, in lower case; by its content if it has none, or one that nobody knows.

    Args:
        name: of the file.
        head: reads its first :data:`HEAD_BYTES`.
    """
    suffix = PurePosixPath(name).suffix.lower()
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES | ARCHIVE_SUFFIXES | {".zip"}
    if suffix in known or (suffix and _TYPES.guess_type(f"x{suffix}")[0]):
        return suffix
    start = head()
    for offset, mark, found in _SIGNATURES:
        if start[offset : offset + len(mark)] == mark:
            return found
    return suffix
