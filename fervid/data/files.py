"""The files of a corpus, in folders or still zipped: nothing is ever unpacked to the disk."""

import os
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fervid.data.decoding import Source
from fervid.errors import InputError

RENDERED = "RENDERED.txt"  # lies in the folder of a corpus whose people do not exist


@dataclass(frozen=True)
class File:
    """A file of a corpus.

    Attributes:
        path: relative to the corpus's root, parted by ``/``; a member of a zip is ``<zip>/<member>``.
        source: where its bytes are.
        stamp: another one says that the file has changed.
    """

    path: str
    source: Source
    stamp: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and name."""
        return PurePosixPath(self.path).parts

    @property
    def stem(self) -> str:
        """Name without suffix."""
        return PurePosixPath(self.path).stem


@dataclass
class Listing:
    """What lies under a root.

    Attributes:
        files: sorted by path.
        notes: sentences on what was left out.
    """

    files: list[File] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_files(root: Path, suffixes: Collection[str]) -> Listing:
    """Lists the files under a folder, at any depth, hidden ones apart; zips are looked into.

    Args:
        root: the folder.
        suffixes: those wanted, such as ``.mp4``; upper and lower case are the same.

    Raises:
        InputError: if the folder is not there, or it or a folder in it may not be read.
    """
    if not root.is_dir():
        raise InputError(f"dataset.root={root} is not a folder: give the one the corpus lies in.")
    listing = Listing()
    nameless: list[str] = []
    no_files: list[str] = []
    for path in sorted(_walk(root)):
        relative = path.relative_to(root).as_posix()
        if not _is_text(relative):
            nameless.append(os.fsencode(relative).decode(errors="backslashreplace"))
        elif path.suffix.lower() not in {*suffixes, ".zip"}:
            continue
        elif not path.is_file():
            no_files.append(relative)
        elif path.suffix.lower() in suffixes:
            listing.files.append(File(relative, path, stamp(path)))
        else:
            _look_into(path, relative, suffixes, listing)
    if no_files:
        listing.notes.append(
            f"left out: {len(no_files)} links to nothing or things that are no files (first: {no_files[0]})."
        )
    if nameless:
        listing.notes.append(
            f"{len(nameless)} file names are not UTF-8 (first: {nameless[0]}): these files are left out; rename them."
        )
    listing.files.sort(key=lambda file: file.path)
    return listing


def stamp(path: Path) -> str:
    """Another one says that a file has changed, or may be read now."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}" + ("" if os.access(path, os.R_OK) else " unreadable")


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}).") from error

    seen = set()
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(folder))
        # A link may lead back to a folder above it.
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__MACOSX")) and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _look_into(archive: Path, relative: str, suffixes: Collection[str], listing: Listing) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeError) as error:
        listing.notes.append(f"{relative} cannot be opened as a zip ({error}): nothing of it is used.")
        return
    wild = 0
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if member.is_dir() or PurePosixPath(member.filename).suffix.lower() not in suffixes:
            continue
        if ".." in parts or member.filename.startswith(("/", "\\")) or not _is_text(member.filename):
            wild += 1
        elif "__MACOSX" not in parts and not parts[-1].startswith("."):
            source = (archive, member.filename)
            listing.files.append(File(f"{relative}/{member.filename}", source, f"{member.file_size} {member.CRC:08x}"))
    if wild:
        listing.notes.append(f"{wild} entries of {relative} have names that lead out of it: they are left out.")


def _is_text(name: str) -> bool:
    """Whether a name can be written into a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
