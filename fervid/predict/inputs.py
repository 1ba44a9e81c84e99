"""What there is to look at: pictures, videos and cameras, as a user names them."""

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
from fervid.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.media.sources import Source

MEDIA = PICTURE_SUFFIXES | VIDEO_SUFFIXES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Camera:
    """A camera of this machine.

    Args:
        number: as OpenCV counts them.
        seconds: how long it is looked at; None: until it is unplugged or the user stops.
    """

    number: int = 0
    seconds: float | None = None

    def frames(self, frame_stride: int) -> Iterator[Frame]:
        """Each so manieth frame as it comes, its time by the clock.

        Raises:
            InputError: if there is no such camera.
        """
        # A camera that is missing is told of in one sentence, below.
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        capture = cv2.VideoCapture(self.number)
        cv2.utils.logging.setLogLevel(level)
        try:
            if not capture.isOpened():
                raise InputError(
                    f"source=camera:{self.number} cannot be opened: see that it is plugged in, allowed and not in use "
                    "elsewhere, or give another number."
                )
            began = time.monotonic()
            for number in count():
                there, image = capture.read()
                now = time.monotonic() - began
                if not there and number == 0:
                    raise InputError(
                        f"source=camera:{self.number} gives no picture: see that it is not in use elsewhere."
                    )
                if not there or (self.seconds is not None and now > self.seconds):
                    return
                if number % frame_stride == 0:
                    yield Frame(number, now, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        finally:
            capture.release()


@dataclass(frozen=True)
class Item:
    """One thing to look at.

    Attributes:
        name: what it is called in tables.
        source: the file, or the camera.
        is_video: has frames and times; otherwise it is a picture.
    """

    name: str
    source: Source | Camera
    is_video: bool


@dataclass(frozen=True)
class Found:
    """What lies at the places a user named.

    Attributes:
        items: pictures, videos and cameras, each once, in the order given; folders and globs by name.
        left_out: name and reason of each file that is neither a picture nor a video.
    """

    items: list[Item]
    left_out: list[tuple[str, str]]


def find_sources(wanted: str | Sequence[str], seconds: float | None = None) -> Found:
    """Finds pictures, videos and cameras.

    Args:
        wanted: a picture, video, folder (any depth, zips too), zip, glob, ``camera``, ``camera:<number>``, or several.
        seconds: how long a camera is looked at.

    Raises:
        InputError: if one is not there, or is or holds neither pictures nor videos.
    """
    items: dict[str, Item] = {}
    left_out: dict[tuple[str, str], None] = {}  # each once, in order
    for word in [wanted] if isinstance(wanted, str) else wanted:
        for item in _find(str(word), seconds, left_out):
            items.setdefault(item.name, item)
    return Found(list(items.values()), list(left_out))


def _find(word: str, seconds: float | None, left_out: dict[tuple[str, str], None]) -> list[Item]:
    path = Path(word).expanduser()
    kind, _, number = word.partition(":")
    if kind == "camera" and not path.exists():
        if number and not number.isdecimal():
            raise InputError(f"source={word} is no camera: give camera, camera:1, camera:2, ...")
        return [Item(word, Camera(int(number or 0), seconds), is_video=True)]
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        listing = list_files(path, MEDIA)
        for sentence in listing.notes:
            log.warning("%s: %s", word, sentence)
        if not listing.files:
            raise InputError(f"source={word} holds neither pictures nor videos. {' '.join(listing.notes)}".strip())
        parent = path if path.is_dir() else path.parent  # the path of a member begins with its zip
        left_out.update({(_printable(str(parent / name)), reason): None for name, reason in listing.left_out})
        return [_item(str(parent / file.path), file.source, file.suffix) for file in listing.files]
    if path.exists():
        suffix = suffix_of(path.name, path) if path.is_file() else ""
        if suffix not in MEDIA:
            raise InputError(f"source={word} is neither a picture nor a video, by its name and by its first bytes.")
        return [_item(str(path), path, suffix)]
    if not glob.has_magic(word):
        raise InputError(f"source={word} is not there: give a picture, a video, a folder, a glob or camera.")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    suffixes = {match: suffix_of(match.name, match) for match in matches if match.is_file()}
    others = {match: suffix for match, suffix in suffixes.items() if suffix not in MEDIA}
    note = f"{OTHER_KIND}, left out: {by_suffix(Counter(others.values()))}." if others else ""
    if len(suffixes) == len(others):
        raise InputError(f"source={word} matches no picture and no video here. {note}".strip())
    if note:
        log.warning("%s: %s", word, note)
    left_out.update({(_printable(str(match)), of_other_kind(suffix)): None for match, suffix in others.items()})
    return [_item(str(match), match, suffix) for match, suffix in suffixes.items() if suffix in MEDIA]


def _item(name: str, source: Source, suffix: str) -> Item:
    return Item(_printable(name), source, suffix in VIDEO_SUFFIXES)


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")  # a name may be anything but text
