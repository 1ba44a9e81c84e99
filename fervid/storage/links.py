"""Checks for links in untrusted run folders, through which files outside the folder could be read or overwritten."""

import os
from collections.abc import Iterator
from pathlib import Path

from fervid.errors import InputError


def refuse_links_out(folder: Path) -> None:
    """Checks that no entry of a run folder leads out of it.

    The folder itself may be a link, since the user has chosen it. Links to entries inside the folder are allowed.

    Raises:
        InputError: if a link leads out of the folder, or an entry is neither a file nor a folder, such as a named pipe,
            on which reading would block forever. The message contains the name of the entry, not of the folder.
        OSError: if a subfolder cannot be listed.
    """
    root = os.path.realpath(folder)
    for entry in _entries(root):
        name = os.path.relpath(entry.path, root)
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target != root and not target.startswith(root + os.sep):
                raise InputError(
                    f"its entry {name} is a link that leads out of the folder: remove it, or replace it with a copy of "
                    "its target"
                )
        elif not entry.is_file() and not entry.is_dir():
            raise InputError(f"its entry {name} is neither a file nor a folder: remove it")


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
