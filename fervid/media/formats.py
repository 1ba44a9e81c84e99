"""Identifies pictures, videos and sound files by suffix or by their first bytes.

Suffixes of formats that cannot be decoded are listed too. Such files fail when they are read and are reported by name,
whereas files with an unknown suffix are only counted.
"""

import mimetypes
import re
from collections.abc import Callable
from pathlib import PurePosixPath

from PIL import Image

Image.init()
_SUPPORTED = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
PICTURE_FORMATS = tuple(name for name in _SUPPORTED if name in Image.OPEN)
"""Formats that Pillow may open, chosen by content. Others may run programs (EPS) or are vector graphics."""

VIDEO_FORMATS = "asf,avi,dv,flv,matroska,mov,mpeg,mpegts,mpegvideo,mxf,ogg,rm,yuv4mpegpipe"
"""FFmpeg demuxers that may be chosen by content. None of them opens other files or network connections."""

SOUND_FORMATS = f"{VIDEO_FORMATS},aac,aiff,amr,au,caf,flac,mp3,w64,wav"
"""FFmpeg demuxers of files with a sound track, with the same restriction."""

# TGA has no signature, so any file could be mistaken for it; it is not supported.
UNREADABLE_SUFFIXES = set(
    ".arw .cr2 .cr3 .dng .exr .hdr .heic .heif .hif .jxl .nef .orf .psd .raf .rw2 .svg .tga".split()
)
PICTURE_SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in PICTURE_FORMATS}
PICTURE_SUFFIXES |= UNREADABLE_SUFFIXES | {".avif", ".mpo"}
VIDEO_SUFFIXES = set(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m1v .m2t .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm "
    ".ogv .qt .rm .rmvb .swf .ts .vob .webm .wmv .y4m".split()
)
SOUND_SUFFIXES = set(".aac .aif .aiff .amr .au .caf .flac .m4a .mka .mp3 .oga .ogg .opus .w64 .wav .wma".split())
ARCHIVE_SUFFIXES = {".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zst"}  # .zip is supported
HEAD_BYTES = 400
_TYPES = mimetypes.MimeTypes(filenames=())  # only the types built into Python: system files differ between machines

_BY_PILLOW = {
    "AVIF": ".avif",
    "GIF": ".gif",
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
}
"""Formats whose signature Pillow checks. Text can start like BMP (``BM``) and PPM (``P`` and a digit)."""

_SIGNATURES = [
    (re.compile(pattern, re.DOTALL), suffix)
    for pattern, suffix in (
        (rb"BM.{4}\0{4}", ".bmp"),
        (rb"P5\s+\d+\s+\d+\s+\d+\s", ".pgm"),
        (rb"P6\s+\d+\s+\d+\s+\d+\s", ".ppm"),
        (rb"8BPS\0", ".psd"),
        (rb"\xff\x0a", ".jxl"),
        (rb".{4}JXL \r\n", ".jxl"),
        (rb".{4}ftypavi", ".avif"),
        (rb".{4}ftyp(he|mif1)", ".heic"),
        (rb".{4}ftypM4A", ".m4a"),
        (rb".{4}ftyp", ".mp4"),
        (rb"\0.{3}(moov|mdat|wide)", ".mov"),
        (rb"RIFF.{4}AVI ", ".avi"),
        (rb"\x1aE\xdf\xa3", ".mkv"),
        (rb"FLV\x01", ".flv"),
        (rb"\0\0\x01[\xba\xb3]", ".mpg"),
        (rb"G.{187}G.{187}G", ".ts"),
        (rb".{4}G.{191}G.{191}G", ".m2ts"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wmv"),
        (rb"\x06\x0e\x2b\x34\x02\x05\x01", ".mxf"),
        (rb"\.RMF\0", ".rm"),
        (rb"YUV4MPEG2 ", ".y4m"),
        (rb"RIFF.{4}WAVE", ".wav"),
        (rb"fLaC", ".flac"),
    )
]
"""Signatures of other formats. Ogg is not included, since it is more often audio than video."""


def media_suffix(name: str, head: Callable[[], bytes]) -> str:
    """Returns the suffix of a file in lower case, derived from the content if it is missing or unknown.

    Args:
        name: name of the file.
        head: function that reads the first :data:`HEAD_BYTES` of the file.
    """
    suffix = PurePosixPath(name).suffix.lower()
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES | SOUND_SUFFIXES | ARCHIVE_SUFFIXES | {".npy", ".zip"}
    if suffix in known or (suffix and _TYPES.guess_type(f"x{suffix}")[0]):
        return suffix
    start = head()
    for picture_format, found in _BY_PILLOW.items():
        _, accepts = Image.OPEN.get(picture_format, (None, None))
        # Pillow returns a message if it knows the signature but lacks the decoder.
        if accepts and accepts(start[:16]):
            return found
    for signature, found in _SIGNATURES:
        if signature.match(start):
            return found
    return suffix
