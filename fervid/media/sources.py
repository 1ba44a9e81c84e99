"""Location of the bytes of a video, picture or sound file."""

import errno
from pathlib import Path

from fervid.media.archives import Member, read_member

Source = Path | Member | bytes
"""A file, a member of a zip, or the bytes themselves."""

_TEMPORARY = {
    *(errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ETIMEDOUT),
    # A disk or a network drive that was removed: the file was there when the corpus was listed.
    *(errno.ENOENT, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN),
}


def read_bytes(source: Source) -> bytes:
    """Reads a whole file or member of a zip; bytes are returned unchanged.

    Raises:
        ValueError: if a zip is damaged, or a member is larger than 1 GiB or than 100 times its compressed size.
        OSError: if a file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else read_member(source)


def is_temporary(error: Exception) -> bool:
    """Whether the machine rather than the file caused an error of reading, so that a retry may succeed."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in _TEMPORARY
