"""Lists and reads members of zip archives, including nested zips, without unpacking them.

Archives stay open in each process that reads them, so the table of contents is parsed only once.
"""

import io
import lzma
import os
import shutil
import struct
import tempfile
import threading
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from fervid.errors import first_line

Member = tuple[Path, *tuple[str, ...]]
"""A member of a zip: the zip and the name in it; for nested zips, one more name for each level."""

MAX_MEMBER_BYTES = 2**30  # members are read into memory
MAX_EXPANSION = 100  # maximum compression ratio: media files compress little, zip bombs a lot
MAX_DEPTH = 3  # nesting levels of zips, including the outermost
MAX_INNER_ZIPS = 1000  # per archive, since some zip bombs nest endlessly
OPEN_ARCHIVES = 128  # kept open: corpora may have one zip per subject, which are read in turn
LOCAL_HEADER = 30  # bytes before the name; the last four are the lengths of name and extra field

_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, RuntimeError, UnicodeError)
_lock = threading.RLock()  # nested zips share the file handle of the outer zip


def list_members(archive: Path, shown: str) -> tuple[list[tuple[str, Member, str]], list[tuple[str, str]]]:
    """Lists the members of a zip and of nested zips, except folders and hidden files.

    Args:
        archive: Path to the zip.
        shown: name of the zip in messages and paths.

    Returns:
        A list with the path of each member (separated by ``/``), the member, and a stamp that changes with its content;
        and a list with the path and reason of everything that is left out. If several members have the same path, the
        last one is used, as unpacking programs do.
    """
    members: list[tuple[str, Member, str]] = []
    problems: list[tuple[str, str]] = []
    inner_zips = 0

    def list_zip(place: Member, path: str) -> None:
        nonlocal inner_zips
        try:
            with _lock:
                listed = _open(place).infolist()
        except (*_DAMAGE, OSError, ValueError) as error:
            problems.append((path, f"cannot be opened as a zip ({first_line(error)}) and is ignored"))
            return
        unsafe = 0
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in listed:
            name = entry.filename.replace("\\", "/")  # some programs on Windows write backslashes
            parts = PurePosixPath(name).parts
            if ".." in parts or name.startswith("/") or not is_text(name):
                unsafe += not name.endswith("/")
            elif not name.endswith("/") and not any(part.startswith((".", "__MACOSX")) for part in parts):
                name = "/".join(parts)
                if name in entries:
                    problems.append((f"{path}/{name}", "replaced by a later member of the same name"))
                entries[name] = entry
        for name, entry in entries.items():
            if not name.lower().endswith(".zip"):
                members.append((f"{path}/{name}", (*place, entry.filename), f"{entry.file_size} {entry.CRC:08x}"))
            elif len(place) == MAX_DEPTH:
                problems.append((f"{path}/{name}", f"left out, since zips are read only {MAX_DEPTH} levels deep"))
            elif inner_zips < MAX_INNER_ZIPS:
                inner_zips += 1
                list_zip((*place, entry.filename), f"{path}/{name}")
            elif inner_zips == MAX_INNER_ZIPS:
                inner_zips += 1
                problems.append((shown, f"has more than {MAX_INNER_ZIPS} zips; the others are left out"))
        if unsafe:
            problems.append(
                (path, f"{unsafe} of its entries have unsafe names that lead out of the archive and are ignored")
            )

    list_zip((archive,), shown)
    return members, problems


def read_member(member: Member, size: int | None = None) -> bytes:
    """Reads a member; a complete read is checked against the length and checksum in the archive.

    Args:
        member: the zip and the name in it.
        size: number of bytes to read from the start; None: all.

    Raises:
        ValueError: if the zip is damaged, or the member is larger than 1 GiB or than 100 times its compressed size.
        OSError: if the zip cannot be read.
    """
    archive, *names = member
    try:
        with _lock:
            file = _open((archive, *names[:-1]))
            with file.open(_checked(file, names[-1])) as content:
                return content.read() if size is None else content.read(size)
    except _DAMAGE as error:
        raise ValueError(f"cannot be unpacked ({first_line(error)})") from error


def is_text(name: str) -> bool:
    """Whether a file name can be encoded as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(place: Member) -> zipfile.ZipFile:
    stat = place[0].stat()
    # Open again if the archive has changed or the process was forked, since forks share the file position.
    return _opened(place, (stat.st_size, stat.st_mtime_ns, stat.st_ino), os.getpid())


@lru_cache(OPEN_ARCHIVES)
def _opened(place: Member, stamp: tuple[int, ...], process: int) -> zipfile.ZipFile:
    archive, *names = place
    if not names:
        return zipfile.ZipFile(archive)
    outer = _opened((archive, *names[:-1]), stamp, process)
    entry = outer.getinfo(names[-1])
    if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1:
        return zipfile.ZipFile(cast(IO[bytes], _Stretch(outer, entry)))
    # A compressed zip does not allow random access, so it is unpacked into an unnamed temporary file.
    with outer.open(_checked(outer, names[-1])) as packed:
        unpacked = _Unpacked(2**20)  # stays open as long as the nested zip
        shutil.copyfileobj(packed, unpacked, 2**20)
    return zipfile.ZipFile(unpacked)


def _checked(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    entry = archive.getinfo(name)
    packed, size = entry.compress_size, entry.file_size
    if size > MAX_MEMBER_BYTES or size > max(2**20, MAX_EXPANSION * packed):
        raise ValueError(f"unpacks to {size / 2**20:.0f} MiB from {packed / 2**20:.2f} MiB")
    return entry


class _Unpacked(tempfile.SpooledTemporaryFile[bytes]):
    """A temporary file that is closed when it is no longer used."""

    def __del__(self) -> None:
        self.close()


class _Stretch(io.RawIOBase):
    """File object for an uncompressed zip inside another zip."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo):
        self._archive = archive  # keeps the archive open
        file: Any = archive.fp
        self._file = file
        self._file.seek(entry.header_offset)
        lengths = struct.unpack("<HH", self._file.read(LOCAL_HEADER)[-4:])
        self._start, self._size, self._at = entry.header_offset + LOCAL_HEADER + sum(lengths), entry.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the start of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        content = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
