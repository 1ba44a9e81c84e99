"""Zip archives: their members are listed and read in place, also those of zips inside zips.

An archive stays open in each process that reads from it: its table of contents is parsed once, not for each member.
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
"""A member of a zip: the zip and the name in it; for a zip inside a zip, one more name for each level."""

MAX_MEMBER_BYTES = 2**30  # a member is read into memory
MAX_EXPANSION = 100  # times as large as packed: videos and pictures hardly shrink, bombs do
MAX_DEPTH = 3  # zips inside each other, including the outermost
MAX_INNER_ZIPS = 1000  # in one archive: some bombs hold zips without end
OPEN_ARCHIVES = 128  # kept open: corpora come as one zip a subject, and their clips are read in turn
LOCAL_HEADER = 30  # bytes before the name; the last four give the lengths of the name and of the extra field

_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, RuntimeError, UnicodeError)
_lock = threading.RLock()  # the zips inside a zip share its file handle


def list_members(archive: Path, shown: str) -> tuple[list[tuple[str, Member, str]], list[tuple[str, str]]]:
    """Lists the members of a zip and of the zips inside it; hidden ones and folders are skipped.

    Args:
        archive: the zip.
        shown: what it is called in sentences and paths.

    Returns:
        The path of each member separated by ``/``, the member, and a stamp that changes with its content; and the
        path of what is left out, or of a zip of which something is, with the reason. Of members with the same path
        the last is taken, as by programs that unpack.
    """
    members: list[tuple[str, Member, str]] = []
    problems: list[tuple[str, str]] = []
    inner_zips = 0

    def look_into(place: Member, path: str) -> None:
        nonlocal inner_zips
        try:
            with _lock:
                listed = _open(place).infolist()
        except (*_DAMAGE, OSError, ValueError) as error:
            problems.append((path, f"cannot be opened as a zip ({first_line(error)}), nothing of it is used"))
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
                problems.append((f"{path}/{name}", f"left out, since zips are read {MAX_DEPTH} levels deep"))
            elif inner_zips < MAX_INNER_ZIPS:
                inner_zips += 1
                look_into((*place, entry.filename), f"{path}/{name}")
            elif inner_zips == MAX_INNER_ZIPS:
                inner_zips += 1
                problems.append((shown, f"holds more than {MAX_INNER_ZIPS} zips, the rest of them are left out"))
        if unsafe:
            problems.append((path, f"{unsafe} of its entries have names that lead out of it and are not used"))

    look_into((archive,), shown)
    return members, problems


def read_member(member: Member, size: int | None = None) -> bytes:
    """Reads a member; the whole of it is checked against the length and checksum that the archive promises.

    Args:
        member: the zip and the name in it.
        size: how many bytes from the start; None: all.

    Raises:
        ValueError: if the zip is damaged, or the member is larger than 1 GiB or a hundred times as large as packed.
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
    """Whether a file name can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(place: Member) -> zipfile.ZipFile:
    stat = place[0].stat()
    # A changed archive is opened again, and so is one that a forked process inherits: the two would move one handle.
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
    # Compressed, it cannot be read here and there: it is unpacked into a file without a name, gone with the process.
    with outer.open(_checked(outer, names[-1])) as packed:
        unpacked = _Unpacked(2**20)  # open as long as the zip in it
        shutil.copyfileobj(packed, unpacked, 2**20)
    return zipfile.ZipFile(unpacked)


def _checked(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    entry = archive.getinfo(name)
    packed, size = entry.compress_size, entry.file_size
    if size > MAX_MEMBER_BYTES or size > max(2**20, MAX_EXPANSION * packed):
        raise ValueError(f"unpacks to {size / 2**20:.0f} MiB from {packed / 2**20:.2f} MiB")
    return entry


class _Unpacked(tempfile.SpooledTemporaryFile[bytes]):
    """A temporary file that is closed when nothing reads from it any more."""

    def __del__(self) -> None:
        self.close()


class _Stretch(io.RawIOBase):
    """The bytes of a zip that is stored in another one, as a file of its own."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo):
        self._archive = archive  # keeps it open
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
