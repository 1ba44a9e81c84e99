"""Finds the pictures, videos, sound files and cameras that a user names as sources."""

import glob
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2

from fervid.errors import InputError
from fervid.media.decoding import Frame
from fervid.media.files import OTHER_KIND, by_suffix, list_files, of_other_kind, suffix_of
from fervid.media.formats import PICTURE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from fervid.media.sources import Source

SUFFIXES = {"picture": PICTURE_SUFFIXES, "video": VIDEO_SUFFIXES, "sound file": SOUND_SUFFIXES}  # of each kind
PICTURES_AND_VIDEOS = ("picture", "video")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Camera:
    """A camera of this machine.

    Args:
        number: OpenCV's index of the camera.
        seconds: how long to read from it; None: until it is unplugged or the user stops.
    """

    number: int = 0
    seconds: float | None = None

    def frames(self, frame_stride: int) -> Iterator[Frame]:
        """Yields every ``frame_stride``-th frame live, with the seconds since the start as its time.

        Raises:
            InputError: if the camera does not exist or delivers no picture.
        """
        # OpenCV's own messages about a missing camera are silenced; the InputError below replaces them.
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        capture = cv2.VideoCapture(self.number)
        cv2.utils.logging.setLogLevel(level)
        try:
            if not capture.isOpened():
                raise InputError(
                    f"source=camera:{self.number} cannot be opened: check that it is plugged in, permitted and not "
                    "used by another program, or give another number."
                )
            began = time.monotonic()
            for number in count():
                success, image = capture.read()
                now = time.monotonic() - began
                if not success and number == 0:
                    raise InputError(
                        f"source=camera:{self.number} delivers no picture: check that no other program is using it."
                    )
                if not success or (self.seconds is not None and now > self.seconds):
                    return
                if number % frame_stride == 0:
                    yield Frame(number, now, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        finally:
            capture.release()


@dataclass(frozen=True)
class Item:
    """One picture, video, sound file or camera.

    Attributes:
        name: its name in tables.
        source: the file or the camera.
        is_video: whether it has frames and times.
        is_sound: whether it is a sound file; if it is neither, it is a picture.
    """

    name: str
    source: Source | Camera
    is_video: bool
    is_sound: bool = False

    @property
    def has_length(self) -> bool:
        """Whether it lasts some time, in contrast to a picture."""
        return self.is_video or self.is_sound


@dataclass(frozen=True)
class Found:
    """The files and cameras found for the named sources.

    Attributes:
        items: files and cameras without duplicates, in the order given; those of a folder or glob sorted by name.
        left_out: name and reason for each file of another kind.
    """

    items: list[Item]
    left_out: list[tuple[str, str]]


def find_sources(
    sources: str | Sequence[str], seconds: float | None = None, kinds: Sequence[str] = PICTURES_AND_VIDEOS
) -> Found:
    """Finds files and cameras.

    Args:
        sources: a file, folder (searched recursively, including zip files), zip file, glob, ``camera`` or
            ``camera:<number>``, or a list of these.
        seconds: how long to read from a camera; None: no limit.
        kinds: kinds of files to find, of :data:`SUFFIXES`. A camera is found if these include pictures.

    Raises:
        InputError: if a source does not exist, or contains no such files.
    """
    items: dict[str, Item] = {}
    left_out: dict[tuple[str, str], None] = {}  # an ordered set
    for word in [sources] if isinstance(sources, str) else sources:
        for item in _find(str(word), seconds, kinds, left_out):
            items.setdefault(item.name, item)
    return Found(list(items.values()), list(left_out))


def _find(word: str, seconds: float | None, kinds: Sequence[str], left_out: dict[tuple[str, str], None]) -> list[Item]:
    path, media = Path(word).expanduser(), set().union(*(SUFFIXES[kind] for kind in kinds))
    kind, _, number = word.partition(":")
    if kind == "camera" and not path.exists():
        if "picture" not in kinds:
            raise InputError(f"source={word} cannot be used, since the run classifies clips: give {_one_of(kinds)}.")
        if number and not number.isdecimal():
            raise InputError(f"source={word} is not a camera: give camera, camera:1, camera:2, ...")
        return [Item(word, Camera(int(number or 0), seconds), is_video=True)]
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        listing = list_files(path, media)
        for sentence in listing.notes:
            log.warning("%s: %s", word, sentence)
        if not listing.files:
            wanted = f"neither {kinds[0]}s nor {kinds[1]}s" if len(kinds) > 1 else f"no {kinds[0]}s"
            raise InputError(f"source={word} contains {wanted}. {' '.join(listing.notes)}".strip())
        parent = path if path.is_dir() else path.parent  # the path of a zip member begins with the name of the zip
        left_out.update({(_printable(str(parent / name)), reason): None for name, reason in listing.left_out})
        return [_item(str(parent / file.path), file.source, file.suffix) for file in listing.files]
    if path.exists():
        suffix = suffix_of(path.name, path) if path.is_file() else ""
        if suffix not in media:
            wanted = f"neither a {kinds[0]} nor a {kinds[1]}" if len(kinds) > 1 else f"not a {kinds[0]}"
            raise InputError(
                f"source={word} is {wanted}: neither its suffix nor its first bytes are those of a supported format."
            )
        return [_item(str(path), path, suffix)]
    if not glob.has_magic(word):
        camera = "or camera" if "picture" in kinds else "or a list of them"
        raise InputError(f"source={word} does not exist: give {_one_of(kinds)}, a folder, a glob {camera}.")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    suffixes = {match: suffix_of(match.name, match) for match in matches if match.is_file()}
    others = {match: suffix for match, suffix in suffixes.items() if suffix not in media}
    note = f"{OTHER_KIND}, left out: {by_suffix(Counter(others.values()))}." if others else ""
    if len(suffixes) == len(others):
        raise InputError(f"source={word} matches no {' or '.join(kinds)}. {note}".strip())
    if note:
        log.warning("%s: %s", word, note)
    left_out.update({(_printable(str(match)), of_other_kind(suffix)): None for match, suffix in others.items()})
    return [_item(str(match), match, suffix) for match, suffix in suffixes.items() if suffix in media]


def _item(name: str, source: Source, suffix: str) -> Item:
    return Item(_printable(name), source, suffix in VIDEO_SUFFIXES, suffix in SOUND_SUFFIXES)


def _one_of(kinds: Sequence[str]) -> str:
    return ", ".join(f"a {kind}" for kind in kinds)


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")  # file names need not be valid text
