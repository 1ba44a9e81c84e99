"""Where the bytes of a clip or picture are."""

from pathlib import Path

from fervid.media.archives import Member, read_member

Source = Path | Member | bytes
"""A file, a member of a zip, or the bytes themselves."""


def read_bytes(source: Source) -> bytes:
    """All of a file, zip member or bytes.

    Raises:
        ValueError: if a zip is damaged, or a member is larger than 1 GiB or a hundred times as large as packed.
        OSError: if a file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else read_member(source)
