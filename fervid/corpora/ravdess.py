"""RAVDESS: 24 actors who say two sentences, and sing them, in eight emotions."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, choose_people
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import VIDEO_SUFFIXES
from fervid.schema.emotions import choose

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SUNG = EMOTIONS[:6]
MODALITIES = {"01": "audio-video", "02": "video-only"}
CHANNELS = {"01": "speech", "02": "song"}
INTENSITIES = {"01": "normal", "02": "strong"}
SUBJECTS = tuple(f"{number:02d}" for number in range(1, 25))
NOT_SINGING = "18"  # this actor recorded no song
NAME = re.compile(r"0[1-3]-0[12]-0[1-8](-0[12]){3}-(0[1-9]|1\d|2[0-4])")  # modality, channel, emotion, ..., actor


class RAVDESS(Corpus):
    """The Ryerson Audio-Visual Database of Emotional Speech and Song (Livingstone & Russo 2018).

    Videos are known by the seven numbers of their names, wherever they lie: in folders, flat, or still zipped.

    Args:
        root: the folder that holds the videos or zips.
        modality: ``video-only``, ``audio-video`` or ``both``. Both hold the same pictures of the same recordings: a
            recording's twins must not be parted by a split, so both are taken only when asked for by name.
        channel: ``speech``, ``song`` or ``both``.
        emotions: ``eight``, ``six`` (neutral, calm, happy, sad, angry, fearful: those that are sung too), or a list.
        intensity: ``normal``, ``strong`` (never of neutral) or ``both``.
        subjects: numbers of some subjects; None: all 24.

    Raises:
        InputError: if an option is unknown, or nothing of what it asks for is there.
    """

    name = "ravdess"
    licence = "CC BY-NC-SA 4.0"
    citation = (
        "S. R. Livingstone, F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS). "
        "PLoS ONE 13(5), 2018. https://doi.org/10.5281/zenodo.1188976"
    )
    expressions = "are acted: actors play emotions before a camera, stronger and clearer than in life."

    def __init__(
        self,
        root: str | Path | None,
        *,
        modality: str = "video-only",
        channel: str = "speech",
        emotions: str | Sequence[str] = "eight",
        intensity: str = "both",
        subjects: Sequence[int] | None = None,
    ):
        super().__init__(root)
        self.modality, self.channel, self.intensity = modality, channel, intensity
        for name, value, known in (
            ("modality", modality, MODALITIES),
            ("channel", channel, CHANNELS),
            ("intensity", intensity, INTENSITIES),
        ):
            if value not in (*known.values(), "both"):
                raise InputError(f"dataset.{name}={value} is unknown: choose {', '.join(known.values())} or both.")
        self.emotions = _emotions(emotions)
        self.subjects = {f"{actor:02d}" for actor in choose_people(subjects, range(1, 25), "subjects")}
        self.named: dict[str, list[str]] = {}
        if not isinstance(emotions, str):
            self.named["emotions"] = [EMOTIONS[int(code) - 1] for code in sorted(self.emotions)]
        if subjects is not None:
            self.named["subjects"] = sorted(self.subjects)

    def choices(self) -> dict[str, Any]:
        emotions = [name for code, name in zip(_CODES, EMOTIONS, strict=True) if code in self.emotions]
        people = {"emotions": emotions, "subjects": sorted(self.subjects)}
        return {"modality": self.modality, "channel": self.channel, "intensity": self.intensity, **people}

    def read(self) -> Inventory:
        """Parses file names; of a clip that lies there twice (zipped and unpacked) the first is taken."""
        listing = list_files(self.root, VIDEO_SUFFIXES)
        videos: dict[str, File] = {}
        twice: list[str] = []
        strangers: list[str] = []
        for file in listing.files:
            if NAME.fullmatch(file.stem) and file.stem[:2] in MODALITIES:
                twice += [file.path] if file.stem in videos else []
                videos.setdefault(file.stem, file)
            elif not NAME.fullmatch(file.stem):
                strangers.append(file.path)
        wanted = {stem: file for stem, file in sorted(videos.items()) if self._wanted(stem)}
        if videos and not wanted:
            there = sorted({f"{MODALITIES[stem[:2]]} {CHANNELS.get(stem[3:5], '?')}" for stem in videos})
            raise InputError(
                f"{self.root} holds {len(videos)} videos ({', '.join(there)}), but none that dataset.modality="
                f"{self.modality}, channel={self.channel}, emotions, intensity and subjects ask for."
            )
        listing.leave_out("not named as RAVDESS names its videos", strangers)
        listing.leave_out("second copies", twice)
        rows = [describe(stem) for stem in wanted]
        expected = [describe(stem) for stem in self._complete()]
        people = {row["subject"] for row in rows}
        missing = [row for row in expected if row["clip"] not in wanted]
        return Inventory(
            pd.DataFrame(rows),
            list(wanted.values()),
            expected=Counter(row["emotion"] for row in expected),
            expected_subjects=Counter(row["subject"] for row in expected),
            named=self.named,
            missing=[row["clip"] for row in sorted(missing, key=lambda row: row["subject"] not in people)],
            notes=listing.notes,
            left_out=listing.left_out,
        )

    def _wanted(self, stem: str) -> bool:
        modality, channel, emotion, intensity, _, _, actor = stem.split("-")
        return (
            self.modality in (MODALITIES[modality], "both")
            and CHANNELS.get(channel) in ([self.channel] if self.channel != "both" else CHANNELS.values())
            and emotion in self.emotions
            and INTENSITIES.get(intensity) in ([self.intensity] if self.intensity != "both" else INTENSITIES.values())
            and actor in self.subjects
        )

    def _complete(self) -> list[str]:
        """The names of all clips that there should be."""
        every = ("-".join(codes) for codes in product(MODALITIES, CHANNELS, _CODES, INTENSITIES, _TWO, _TWO, SUBJECTS))
        return [stem for stem in every if _was_recorded(stem) and self._wanted(stem)]


_TWO = ("01", "02")
_CODES = tuple(f"{number:02d}" for number in range(1, 9))


def _was_recorded(stem: str) -> bool:
    _, channel, emotion, intensity, _, _, actor = stem.split("-")
    strong_neutral = emotion == "01" and intensity == "02"
    sung = channel == "02"
    return not strong_neutral and not (sung and (actor == NOT_SINGING or int(emotion) > len(SUNG)))


def describe(stem: str) -> dict[str, str]:
    """What the name of a video says.

    Args:
        stem: seven numbers, such as ``02-01-06-01-02-01-12``.

    Returns:
        ``clip, subject, emotion, recording`` (the same in both modalities), ``sex, intensity, modality, channel,
        statement, repetition``.

    Examples:
        >>> clip = describe("02-01-06-01-02-01-12")
        >>> clip["subject"], clip["emotion"], clip["sex"]
        ('12', 'fearful', 'female')
    """
    modality, channel, emotion, intensity, statement, repetition, actor = stem.split("-")
    return {
        "clip": stem,
        "subject": actor,
        "emotion": EMOTIONS[int(emotion) - 1],
        "recording": stem[3:],
        "sex": "male" if int(actor) % 2 else "female",
        "intensity": INTENSITIES[intensity],
        "modality": MODALITIES[modality],
        "channel": CHANNELS[channel],
        "statement": statement,
        "repetition": repetition,
    }


def _emotions(asked: str | Sequence[str]) -> set[str]:
    """Codes of the emotions asked for."""
    if isinstance(asked, str):
        if asked not in ("eight", "six"):
            raise InputError(f"dataset.emotions={asked} is unknown: give eight, six or a list such as [happy,sad].")
        return set(_CODES if asked == "eight" else _CODES[:6])
    return {_CODES[EMOTIONS.index(name)] for name in choose(asked, EMOTIONS)}
