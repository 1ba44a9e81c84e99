"""Files that other processes see whole or not at all, and leftovers of killed processes that the next start removes.

A file is written beside its target, under a name that carries host and process, and renamed once it is on the disk:
a reader sees the old content or the new, two writers at once do not mix, and a full disk leaves the target untouched:
the ``OSError`` reaches the command, which says it in a sentence (:mod:`fervid.cli.mistakes`).
"""

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PREFIX = ".fervid-partial"
MAX_AGE_SECONDS = 86_400  # of a leftover of another host, whose process may still be alive
_HOST = re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())[:60]
with suppress(OSError):  # containers may share their host's name, but not its process numbers
    _HOST += f"_{os.stat('/proc/self/ns/pid').st_ino}"
_NAME = re.compile(re.escape(PREFIX) + r"-([A-Za-z0-9_]*)-(\d+)-[0-9a-f]{8}(\..*)?")


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Gives a path to write to, in the folder of ``path`` with its suffix; it takes the target's place at the end.

    Args:
        path: the target; its folder is made if absent.

    Raises:
        OSError: if the file cannot be written; what stood at ``path`` before still does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    partial = _partial(path.parent, path.suffix)
    try:
        yield partial
        with open(partial, "r+b") as file:  # some file systems would rename it before its content is on the disk
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):  # it was renamed, or never made
            partial.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8 (see :func:`writing`)."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Writes JSON (see :func:`writing`); numbers that JSON does not know (NaN, infinite ones) become null."""
    content = json.loads(json.dumps(content, default=str), parse_constant=lambda name: None)
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Writes a table as CSV, without its index (see :func:`writing`)."""
    with writing(path) as partial:
        table.to_csv(partial, index=False)


@contextmanager
def scratch(parent: str | Path) -> Iterator[Path]:
    """Gives an empty folder of this process, readable by its user only, which is removed at the end.

    Args:
        parent: where it is made; made itself if absent.
    """
    Path(parent).mkdir(parents=True, exist_ok=True)
    remove_leftovers(Path(parent))
    folder = _partial(Path(parent))
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def filling(folder: str | Path) -> Iterator[Path]:
    """Gives an empty folder; what is in it at the end replaces what has the same name in ``folder``, the rest stays.

    Args:
        folder: made if absent.

    Raises:
        OSError: if something cannot be written; ``folder`` is then as it was.
    """
    made = not Path(folder).exists()
    try:
        with scratch(folder) as new:
            yield new
            for file in new.rglob("*"):
                if file.is_file():
                    with open(file, "r+b") as stream:
                        os.fsync(stream.fileno())
            for entry in sorted(new.iterdir()):
                target = Path(folder, entry.name)
                if target.is_dir() and not target.is_symlink():
                    target.replace(new / f"{entry.name}.old")  # a folder cannot be renamed over a full one
                entry.replace(target)
    finally:
        if made:
            with suppress(OSError):  # it has been filled
                Path(folder).rmdir()


@cache  # once a process
def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left in a folder: at once where the process ran on this host, else after a day."""
    for left in folder.glob(f"{PREFIX}-*"):
        with suppress(OSError):  # it is another user's, or another process was faster
            if _is_abandoned(left):
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                else:
                    left.unlink()


def cut_half_line(path: Path) -> None:
    """Cuts off the end of a file of lines that was killed, or had no room, in the middle of a line."""
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        file.truncate(whole)


def _partial(folder: Path, suffix: str = "") -> Path:
    # Random letters: threads share a process.
    return folder / f"{PREFIX}-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def _is_abandoned(left: Path) -> bool:
    name = _NAME.fullmatch(left.name)
    if name is None:
        return False
    if name[1] == _HOST:  # a process that is alive may work for days
        return not _is_alive(int(name[2]))
    return time.time() - left.lstat().st_mtime > MAX_AGE_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
