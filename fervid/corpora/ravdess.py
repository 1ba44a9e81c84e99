"""RAVDESS: 24 actors speak and sing two sentences in eight emotions."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Self

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, choose_subjects
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import SOUND_SUFFIXES, VIDEO_SUFFIXES
from fervid.schema.emotions import choose

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SUNG = EMOTIONS[:6]
MODALITIES = {"01": "audio-video", "02": "video-only", "03": "audio-only"}
CHANNELS = {"01": "speech", "02": "song"}
INTENSITIES = {"01": "normal", "02": "strong"}
SUBJECTS = tuple(f"{number:02d}" for number in range(1, 25))
NOT_SINGING = "18"  # subject without songs
NAME = re.compile(r"0[1-3]-0[12]-0[1-8](-0[12]){3}-(0[1-9]|1\d|2[0-4])")  # modality, channel, emotion, ..., subject


class RAVDESS(Corpus):
    """The Ryerson Audio-Visual Database of Emotional Speech and Song (Livingstone & Russo 2018).

    Files are identified by the seven numbers in their names. They may be in any folder or in zips.

    Args:
        root: Path to the folder with the videos, sound files or zips.
        modality: ``video-only``, ``audio-video``, ``both`` of these or ``audio-only``. All are versions of the same
            recordings, so a split must keep the clips of a recording in one subset; ``both`` is therefore not the
            default. :meth:`for_sound` replaces ``video-only`` by ``audio-only``.
        channel: ``speech``, ``song`` or ``both``.
        emotions: ``eight``, ``six`` (those that are also sung: neutral, calm, happy, sad, angry, fearful), or a list.
        intensity: ``normal``, ``strong`` (does not exist for neutral) or ``both``.
        subjects: numbers of the subjects to use; None: all 24.

    Raises:
        InputError: if an option is invalid or selects no clips.
    """

    name = "ravdess"
    licence = "CC BY-NC-SA 4.0"
    citation = (
        "S. R. Livingstone, F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS). "
        "PLoS ONE 13(5), 2018. https://doi.org/10.5281/zenodo.1188976"
    )
    expressions = "are acted by actors in front of a camera, and stronger and clearer than in everyday life."

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
        self.subjects = {f"{number:02d}" for number in choose_subjects(subjects, range(1, 25))}
        self.selected: dict[str, list[str]] = {}
        if not isinstance(emotions, str):
            self.selected["emotions"] = [EMOTIONS[int(code) - 1] for code in sorted(self.emotions)]
        if subjects is not None:
            self.selected["subjects"] = sorted(self.subjects)

    @property
    def sound_only(self) -> bool:
        return self.modality == "audio-only"

    def for_sound(self) -> Self:
        if self.modality == "both":
            raise InputError(
                "dataset.modality=both includes videos without sound: give audio-only or audio-video with sample=sound."
            )
        corpus = super().for_sound()
        corpus.modality = "audio-only" if self.modality == "video-only" else self.modality
        return corpus

    def choices(self) -> dict[str, Any]:
        emotions = [name for code, name in zip(_CODES, EMOTIONS, strict=True) if code in self.emotions]
        lists = {"emotions": emotions, "subjects": sorted(self.subjects)}
        return {"modality": self.modality, "channel": self.channel, "intensity": self.intensity, **lists}

    def recording_of(self, name: str) -> str:
        """Returns the name without its modality; names that are not those of RAVDESS are returned unchanged."""
        return _recording(name) if NAME.fullmatch(name) else name

    def read(self) -> Inventory:
        """Parses the file names; if a clip is there twice (zipped and unpacked), the first one is used."""
        listing = list_files(self.root, VIDEO_SUFFIXES | (SOUND_SUFFIXES if self.sound_only else set()))
        clips: dict[str, File] = {}
        duplicates: list[str] = []
        misnamed: list[str] = []
        for file in listing.files:
            if not NAME.fullmatch(file.stem):
                misnamed.append(file.path)
            else:
                duplicates += [file.path] if file.stem in clips else []
                clips.setdefault(file.stem, file)
        used = {stem: file for stem, file in sorted(clips.items()) if self._is_selected(stem)}
        if clips and not used:
            found = sorted({f"{MODALITIES[stem[:2]]} {CHANNELS.get(stem[3:5], '?')}" for stem in clips})
            advice = "change these options"
            if self.with_sound and self.sound_only and any(stem.startswith("01") for stem in clips):
                advice = "give dataset.modality=audio-video to use the sound of the videos"
            raise InputError(
                f"{self.root} has files of RAVDESS ({len(clips)}: {', '.join(found)}), but none that dataset.modality="
                f"{self.modality}, channel={self.channel}, emotions, intensity and subjects select: {advice}."
            )
        listing.leave_out("without a RAVDESS file name", misnamed)
        listing.leave_out("duplicates", duplicates)
        rows = [describe(stem) for stem in used]
        expected = [describe(stem) for stem in self._complete()]
        present = {row["subject"] for row in rows}
        missing = [row for row in expected if row["clip"] not in used]
        return Inventory(
            pd.DataFrame(rows),
            list(used.values()),
            expected=Counter(row["emotion"] for row in expected),
            expected_subjects=Counter(row["subject"] for row in expected),
            selected=self.selected,
            missing=[row["clip"] for row in sorted(missing, key=lambda row: row["subject"] not in present)],
            notes=listing.notes,
            left_out=listing.left_out,
        )

    def _is_selected(self, stem: str) -> bool:
        modality, channel, emotion, intensity, _, _, subject = stem.split("-")
        return (
            MODALITIES[modality] in (_VIDEOS if self.modality == "both" else (self.modality,))
            and CHANNELS.get(channel) in ([self.channel] if self.channel != "both" else CHANNELS.values())
            and emotion in self.emotions
            and INTENSITIES.get(intensity) in ([self.intensity] if self.intensity != "both" else INTENSITIES.values())
            and subject in self.subjects
        )

    def _complete(self) -> list[str]:
        """Returns the names of all selected clips of the complete corpus."""
        stems = ("-".join(codes) for codes in product(MODALITIES, CHANNELS, _CODES, INTENSITIES, _TWO, _TWO, SUBJECTS))
        return [stem for stem in stems if _was_recorded(stem) and self._is_selected(stem)]


_TWO = ("01", "02")
_VIDEOS = ("audio-video", "video-only")
_CODES = tuple(f"{number:02d}" for number in range(1, 9))


def _was_recorded(stem: str) -> bool:
    _, channel, emotion, intensity, _, _, subject = stem.split("-")
    strong_neutral = emotion == "01" and intensity == "02"
    sung = channel == "02"
    return not strong_neutral and not (sung and (subject == NOT_SINGING or int(emotion) > len(SUNG)))


def describe(stem: str) -> dict[str, str]:
    """Parses the name of a file.

    Args:
        stem: seven numbers, such as ``02-01-06-01-02-01-12``.

    Returns:
        A dict with ``clip, subject, emotion, recording`` (equal for all modalities), ``sex, intensity, modality,
        channel, statement, repetition``.

    Examples:
        >>> clip = describe("02-01-06-01-02-01-12")
        >>> clip["subject"], clip["emotion"], clip["sex"]
        ('12', 'fearful', 'female')
    """
    modality, channel, emotion, intensity, statement, repetition, subject = stem.split("-")
    return {
        "clip": stem,
        "subject": subject,
        "emotion": EMOTIONS[int(emotion) - 1],
        "recording": _recording(stem),
        "sex": "male" if int(subject) % 2 else "female",
        "intensity": INTENSITIES[intensity],
        "modality": MODALITIES[modality],
        "channel": CHANNELS[channel],
        "statement": statement,
        "repetition": repetition,
    }


def _recording(stem: str) -> str:
    return stem.split("-", maxsplit=1)[1]  # 01-, 02- and 03- are versions with pictures, sound or both


def _emotions(selected: str | Sequence[str]) -> set[str]:
    """Returns the codes of the selected emotions."""
    if isinstance(selected, str):
        if selected not in ("eight", "six"):
            raise InputError(f"dataset.emotions={selected} is unknown: give eight, six or a list such as [happy,sad].")
        return set(_CODES if selected == "eight" else _CODES[:6])
    return {_CODES[EMOTIONS.index(name)] for name in choose(selected, EMOTIONS)}
