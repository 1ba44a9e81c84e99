"""What there is to look at: pictures, videos and cameras, as a user names them."""

import glob
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2

from fervid.data.decoding import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Frame, Source
from fervid.data.files import list_files
from fervid.errors import InputError

ENDINGS = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES | VIDEO_SUFFIXES))


@dataclass(frozen=True)
class Camera:
    """A camera of this machine.

    Args:
        number: as OpenCV counts them.
        seconds: how long it is looked at; None: until it is unplugged or the user stops.
    """

    number: int = 0
    seconds: float | None = None

    def frames(self, every: int) -> Iterator[Frame]:
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
                if number % every == 0:
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


def find_sources(wanted: str | Sequence[str], seconds: float | None = None) -> list[Item]:
    """All that is to be looked at.

    Args:
        wanted: a picture, video, folder (any depth, zips too), glob, ``camera`` or ``camera:<number>``, or several.
        seconds: how long a camera is looked at.

    Returns:
        Each once, in the order given; folders and globs by name.

    Raises:
        InputError: if one is not there, or is or holds neither pictures nor videos.
    """
    items: dict[str, Item] = {}
    for word in [wanted] if isinstance(wanted, str) else wanted:
        for item in _find(str(word), seconds):
            items.setdefault(item.name, item)
    return list(items.values())


def _find(word: str, seconds: float | None) -> list[Item]:
    path = Path(word).expanduser()
    kind, _, number = word.partition(":")
    if kind == "camera" and not path.exists():
        if number and not number.isdecimal():
            raise InputError(f"source={word} is no camera: give camera, camera:1, camera:2, ...")
        return [Item(word, Camera(int(number or 0), seconds), is_video=True)]
    if path.is_dir():
        listing = list_files(path, PICTURE_SUFFIXES | VIDEO_SUFFIXES)
        found = [_item(str(path / file.path), file.source) for file in listing.files]
        if not found:
            raise InputError(f"source={word} holds neither pictures nor videos: those end in {ENDINGS}.")
        return found
    if path.exists():
        if not _is_known(path):
            raise InputError(f"source={word} is neither a picture nor a video by its name: those end in {ENDINGS}.")
        return [_item(str(path), path)]
    if not glob.has_magic(word):
        raise InputError(f"source={word} is not there: give a picture, a video, a folder, a glob or camera.")
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    found = [_item(str(match), match) for match in matches if _is_known(match) and match.is_file()]
    if not found:
        raise InputError(f"source={word} matches no picture and no video here: those end in {ENDINGS}.")
    return found


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES


def _item(name: str, source: Source) -> Item:
    printable = os.fsencode(name).decode(errors="backslashreplace")  # a name may be anything but text
    return Item(printable, source, Path(name).suffix.lower() in VIDEO_SUFFIXES)
