"""Lists the files of a corpus in folders and zips; nothing is unpacked."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fervid.errors import InputError
from fervid.media.archives import is_text, list_members, read_member
from fervid.media.formats import ARCHIVE_SUFFIXES, HEAD_BYTES, media_suffix
from fervid.media.sources import Source

ARCHIVE, OTHER_KIND = "unsupported archives", "files of other kinds"
FAILED, LEFT_OUT = "failed", "left out"  # outcomes in failures.csv
RENDERED = "RENDERED.txt"  # marks the folder of a corpus with rendered subjects
COMPANIONS = {"desktop.ini", "ehthumbs.db", "thumbs.db", RENDERED.lower()}  # ignored without a note


@dataclass(frozen=True)
class File:
    """A file of a corpus.

    Attributes:
        path: Path relative to the root of the corpus, separated by ``/``; ``<zip>/<member>`` for a member of a zip.
        source: location of its bytes.
        stamp: changes if the file changes.
        suffix: suffix in lower case; derived from the content if the name has no known suffix.
    """

    path: str
    source: Source
    stamp: str
    suffix: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders and the name."""
        return PurePosixPath(self.path).parts

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return PurePosixPath(self.path).stem


@dataclass
class Listing:
    """The files in a root folder.

    Attributes:
        files: files sorted by path.
        notes: sentences on files that were left out.
        left_out: Path and reason of each file that was left out.
    """

    files: list[File] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def leave_out(self, reason: str, paths: Sequence[str]) -> None:
        """Records files that are left out for one reason, with a sentence in the notes.

        Args:
            reason: the reason in a few words.
            paths: paths of the files; may be empty.
        """
        if paths:
            self.left_out += [(path, reason) for path in paths]
            self.notes.append(f"{reason}, left out: {len(paths)} (first: {paths[0]}).")


def list_files(root: Path, suffixes: Collection[str]) -> Listing:
    """Lists the files in a folder, at any depth, and in zips, except hidden files.

    All other files are counted by suffix in the notes, except hidden files and those of the operating system.

    Args:
        root: Path to the folder or to a zip.
        suffixes: suffixes to list, such as ``.mp4``, in lower case. Files with a missing or unknown suffix are
            identified by their first bytes.

    Raises:
        InputError: if the folder does not exist, or it or one of its folders cannot be read.
    """
    is_zip = root.is_file() and root.suffix.lower() == ".zip"
    if not root.is_dir() and not is_zip:
        raise InputError(f"dataset.root={root} is not a folder: give the folder of the corpus.")
    listing = Listing()
    undecodable: list[str] = []
    not_files: list[str] = []
    others: dict[str, str] = {}

    def add(path: str, source: Source, changes: str) -> None:
        suffix = suffix_of(path, source)
        if suffix in suffixes:
            listing.files.append(File(path, source, changes, suffix))
        elif PurePosixPath(path).name.lower() not in COMPANIONS:
            others[path] = suffix

    for path in [root] if is_zip else sorted(_walk(root)):
        relative = path.relative_to(root.parent if is_zip else root).as_posix()
        if not is_text(relative):
            undecodable.append(os.fsencode(relative).decode(errors="backslashreplace"))
        elif not path.is_file():
            not_files.append(relative)
        elif path.suffix.lower() == ".zip":
            members, problems = list_members(path, relative)
            for member in members:
                add(*member)
            listing.left_out += problems
            listing.notes += [f"{inside}: {problem}." for inside, problem in problems]
        else:
            add(relative, path, stamp(path))
    listing.leave_out("broken links or special files", not_files)
    listing.leave_out("with names that are not UTF-8 (rename them)", undecodable)
    for paths, kind, advice in (
        ({path: suffix for path, suffix in others.items() if suffix in ARCHIVE_SUFFIXES}, ARCHIVE, "; unpack them"),
        ({path: suffix for path, suffix in others.items() if suffix not in ARCHIVE_SUFFIXES}, OTHER_KIND, ""),
    ):
        if paths:
            listing.left_out += [(path, of_other_kind(suffix)) for path, suffix in paths.items()]
            listing.notes.append(f"{kind}, left out: {by_suffix(Counter(paths.values()))}{advice}.")
    listing.files.sort(key=lambda file: file.path)
    return listing


def suffix_of(name: str, source: Source) -> str:
    """Returns the suffix of a file in lower case, derived from the content if it is missing or unknown."""
    return media_suffix(name, lambda: _head(source))


def of_other_kind(suffix: str) -> str:
    """Returns why a file with this suffix is left out."""
    name = suffix or "without suffix"
    return f"{name} cannot be read: unpack it" if suffix in ARCHIVE_SUFFIXES else f"of another kind ({name})"


def by_suffix(counts: Mapping[str, int]) -> str:
    """Formats counts of files, such as ``12 (.txt 9, .csv 2, without suffix 1)``."""
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{suffix or 'without suffix'} {count}" for suffix, count in most_first)
    return f"{sum(counts.values())} ({words})"


def stamp(path: Path) -> str:
    """Returns a string that changes if the file or its readability changes."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}" + ("" if os.access(path, os.R_OK) else " unreadable")


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}): check its permissions.") from error

    seen = set()
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(folder))
        # Links may lead back to a parent folder.
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__MACOSX")) and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _head(source: Source) -> bytes:
    """Returns the first bytes of a file; none if it cannot be read."""
    try:
        if isinstance(source, Path):
            with open(source, "rb") as file:
                return file.read(HEAD_BYTES)
        return read_member(source, HEAD_BYTES) if isinstance(source, tuple) else source[:HEAD_BYTES]
    except (OSError, ValueError):
        return b""
