"""Location of the bytes of a video or picture."""

from pathlib import Path

from fervid.media.archives import Member, read_member

Source = Path | Member | bytes
"""A file, a member of a zip, or the bytes themselves."""


def read_bytes(source: Source) -> bytes:
    """Reads a whole file or member of a zip; bytes are returned unchanged.

    Raises:
        ValueError: if a zip is damaged, or a member is larger than 1 GiB or than 100 times its compressed size.
        OSError: if a file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else read_member(source)
