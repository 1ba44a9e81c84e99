"""Links in a run folder from elsewhere: followed, they would let it read and overwrite files outside of it."""

import os
from collections.abc import Iterator
from pathlib import Path

from fervid.errors import InputError


def refuse_links_out(folder: Path) -> None:
    """Checks that everything in a run folder is a file or folder of its own.

    The folder itself may be reached through a link: that is the user's choice. Links inside it that stay inside it
    are allowed.

    Raises:
        InputError: if a link leads out of the folder, or an entry is neither a file nor a folder (reading a named
            pipe would never end). The message names the entry, not the folder.
        OSError: if a folder in it cannot be listed.
    """
    root = os.path.realpath(folder)
    for entry in _entries(root):
        name = os.path.relpath(entry.path, root)
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target != root and not target.startswith(root + os.sep):
                raise InputError(
                    f"its entry {name} is a link that leads out of the folder: remove it, or put a copy of what it "
                    "points to in its place"
                )
        elif not entry.is_file() and not entry.is_dir():
            raise InputError(f"its entry {name} is neither a file nor a folder: remove it")


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
