"""CREMA-D: 91 actors speak twelve sentences in six emotions, on video and as sound files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory, absent_subjects, choose_subjects
from fervid.errors import InputError, first_line
from fervid.media.files import list_files
from fervid.media.formats import SOUND_SUFFIXES, VIDEO_SUFFIXES
from fervid.schema.csv_tables import read_csv
from fervid.schema.emotions import choose

CODES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
EXPECTED = {name: 1087 if name == "neutral" else 1271 for name in CODES.values()}
SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}  # X in one file name
SUBJECTS = range(1001, 1092)
NAME = re.compile(rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(CODES)})_({'|'.join(LEVELS)})")
DEMOGRAPHICS = "VideoDemographics.csv"


class CREMAD(Corpus):
    """The Crowd-sourced Emotional Multimodal Actors Dataset (Cao, Cooper, Keutmann, Gur, Nenkova & Verma 2014).

    Files are identified by their names, such as ``1001_DFA_ANG_XX.flv``. They may be in any folder or in zips. The
    label is the emotion that the actor was asked for. Sex and age are read from ``VideoDemographics.csv`` in the root
    folder, if it is there.

    Args:
        root: Path to the folder with ``VideoFlash`` or ``AudioWAV``.
        emotions: emotions to use; None: all six.
        subjects: numbers of the subjects to use, 1001 to 1091; None: all 91.

    Raises:
        InputError: if an option is invalid or selects no clips.
    """

    name = "crema_d"
    licence = "Open Database License (ODbL) 1.0"
    citation = (
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma: CREMA-D: Crowd-sourced Emotional "
        "Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4), 2014. "
        "https://doi.org/10.1109/TAFFC.2014.2336244"
    )
    expressions = "are acted by actors in front of a camera, who were asked for an emotion and its strength."

    def __init__(
        self,
        root: str | Path | None,
        *,
        emotions: Sequence[str] | None = None,
        subjects: Sequence[int] | None = None,
    ):
        super().__init__(root)
        self.emotions = choose(emotions, tuple(CODES.values()))
        self.subjects = {str(number) for number in choose_subjects(subjects, SUBJECTS)}
        self.selected = {"emotions": sorted(self.emotions)} if emotions is not None else {}
        if subjects is not None:
            self.selected["subjects"] = sorted(self.subjects)

    def choices(self) -> dict[str, Any]:
        return {"emotions": sorted(self.emotions), "subjects": sorted(self.subjects)}

    def read(self) -> Inventory:
        """Parses the file names.

        If a clip is there several times, the first file is used; for sound, WAV files precede others.
        """
        listing = list_files(self.root, VIDEO_SUFFIXES | (SOUND_SUFFIXES if self.with_sound else set()))
        clips = describe_files(
            listing,
            sorted(listing.files, key=lambda file: file.suffix != ".wav"),
            lambda file: describe(file.stem) if _is_clip(file.stem) else None,
            "without a CREMA-D file name",
            duplicates="further files of the same clips",
        )
        if len(clips):
            clips = clips[clips["emotion"].isin(self.emotions) & clips["subject"].isin(self.subjects)]
        return Inventory(
            self._with_demographics(clips.drop(columns="file", errors="ignore").reset_index(drop=True)),
            clips["file"].tolist() if len(clips) else [],
            expected=(
                {name: EXPECTED[name] for name in sorted(self.emotions)} if len(self.subjects) == len(SUBJECTS) else {}
            ),
            selected=self.selected,
            notes=listing.notes + absent_subjects(self.subjects, clips),
            left_out=listing.left_out,
        )

    def _with_demographics(self, clips: pd.DataFrame) -> pd.DataFrame:
        """Adds the columns ``sex`` and ``age``, if the table of subjects is in the root folder."""
        path = self.root / DEMOGRAPHICS
        if clips.empty or not path.is_file():
            return clips
        try:
            table = read_csv(path).set_index("ActorID")
            return clips.assign(
                sex=clips["subject"].map(table["Sex"].str.lower()), age=clips["subject"].map(table["Age"])
            )
        except (OSError, ValueError, KeyError, pd.errors.InvalidIndexError) as error:
            raise InputError(
                f"{path} cannot be used ({first_line(error)}): the columns ActorID, Age and Sex are expected, "
                "with one row per subject; repair or remove it."
            ) from error


def _is_clip(stem: str) -> bool:
    return bool(NAME.fullmatch(stem)) and int(stem[:4]) in SUBJECTS


def describe(stem: str) -> dict[str, str]:
    """Parses the name of a file.

    Returns:
        A dict with ``clip, subject, emotion, sentence, intensity``.

    Examples:
        >>> clip = describe("1001_IEO_ANG_HI")
        >>> clip["subject"], clip["sentence"], clip["emotion"], clip["intensity"]
        ('1001', 'IEO', 'anger', 'high')
    """
    subject, sentence, emotion, level = stem.split("_")
    return {
        "clip": stem,
        "subject": subject,
        "emotion": CODES[emotion],
        "sentence": sentence,
        "intensity": LEVELS[level],
    }
