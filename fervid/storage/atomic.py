"""Atomic writing of files, and removal of temporary files that killed processes have left.

A file is written to a temporary file in the same folder, whose name contains the host and the process id, and renamed
once its content is on the disk. A reader sees either the old or the new content, simultaneous writers do not interfere,
and a full disk leaves the target unchanged. The command reports the ``OSError`` in one sentence
(:mod:`fervid.cli.mistakes`).
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
MAX_AGE_SECONDS = 86_400  # after which a temporary file of another host is removed; its process may still be alive
_HOST = re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())[:60]
with suppress(OSError):  # containers may have the same host name, but different process namespaces
    _HOST += f"_{os.stat('/proc/self/ns/pid').st_ino}"
_NAME = re.compile(re.escape(PREFIX) + r"-([A-Za-z0-9_]*)-(\d+)-[0-9a-f]{8}(\..*)?")


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path with the same folder and suffix, which is renamed to ``path`` at the end.

    Args:
        path: path of the target; its folder is created if absent.

    Raises:
        OSError: if the file cannot be written. An existing file at ``path`` is left unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    partial = _partial(path.parent, path.suffix)
    try:
        yield partial
        with open(partial, "r+b") as file:  # some file systems would rename the file before its content is on the disk
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):  # the file was renamed, or never created
            partial.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8 atomically (see :func:`writing`)."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Writes JSON atomically (see :func:`writing`); NaN and infinite numbers become null."""
    content = json.loads(json.dumps(content, default=str), parse_constant=lambda name: None)
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Writes a table as CSV without its index, atomically (see :func:`writing`)."""
    with writing(path) as partial:
        table.to_csv(partial, index=False)


@contextmanager
def scratch(parent: str | Path) -> Iterator[Path]:
    """Yields an empty temporary folder, readable only by the user, which is removed at the end.

    Args:
        parent: folder in which it is created; created if absent.
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
    """Yields an empty temporary folder, whose entries at the end replace those of the same name in ``folder``.

    Other entries of ``folder`` are left unchanged.

    Args:
        folder: target folder; created if absent.

    Raises:
        OSError: if an entry cannot be written; ``folder`` is left unchanged.
    """
    is_new = not Path(folder).exists()
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
                    target.replace(new / f"{entry.name}.old")  # renaming cannot replace a folder that is not empty
                entry.replace(target)
    finally:
        if is_new:
            with suppress(OSError):  # the folder is not empty
                Path(folder).rmdir()


@cache  # once per process
def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder.

    Files of processes on this host are removed at once, files of other hosts after a day.
    """
    for leftover in folder.glob(f"{PREFIX}-*"):
        with suppress(OSError):  # it belongs to another user, or another process has already removed it
            if _is_abandoned(leftover):
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()


def truncate_partial_line(path: Path) -> None:
    """Removes an incomplete last line, which a killed process or a full disk has left, from a file of lines."""
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        size = sum(len(line) for line in file if line.endswith(b"\n"))
        file.truncate(size)


def _partial(folder: Path, suffix: str = "") -> Path:
    # The random part distinguishes threads, which share a process id.
    return folder / f"{PREFIX}-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def _is_abandoned(leftover: Path) -> bool:
    name = _NAME.fullmatch(leftover.name)
    if name is None:
        return False
    if name[1] == _HOST:  # a process that is still alive may need the file for days
        return not _is_alive(int(name[2]))
    return time.time() - leftover.lstat().st_mtime > MAX_AGE_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # the process belongs to another user
        return True
    return True
