"""EmoDB: ten actors speak ten German sentences in seven emotions; sound only."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fervid.corpora.corpus import Corpus
from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory, choose_subjects
from fervid.media.files import list_files
from fervid.media.formats import SOUND_SUFFIXES
from fervid.schema.emotions import choose

# German initials: Wut, Langeweile, Ekel, Angst, Freude, Trauer
LETTERS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
EXPECTED = {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79}
MALE, FEMALE = ("03", "10", "11", "12", "15"), ("08", "09", "13", "14", "16")
NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])")  # subject, sentence, emotion, take


class EmoDB(Corpus):
    """The Berlin Database of Emotional Speech (Burkhardt, Paeschke, Rolfes, Sendlmeier & Weiss 2005).

    Files are identified by their names, such as ``03a01Fa.wav``. They may be in any folder or in zips.

    Args:
        root: Path to the folder with the sound files or a zip.
        emotions: emotions to use; None: all seven.
        subjects: numbers of the subjects to use; None: all ten.

    Raises:
        InputError: if an option is invalid or selects no clips.
    """

    name = "emodb"
    licence = "see the terms of its authors (emodb.bilderbar.info)"
    citation = (
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier, B. Weiss: A Database of German Emotional Speech. "
        "Interspeech, 2005. https://doi.org/10.21437/Interspeech.2005-446"
    )
    expressions = "are acted by actors in a studio, and are heard rather than seen."
    sound_only = True

    def __init__(
        self,
        root: str | Path | None,
        *,
        emotions: Sequence[str] | None = None,
        subjects: Sequence[int] | None = None,
    ):
        super().__init__(root)
        self.emotions = choose(emotions, tuple(LETTERS.values()))
        numbers = choose_subjects(subjects, sorted(int(name) for name in (*MALE, *FEMALE)))
        self.subjects = {f"{number:02d}" for number in numbers}
        self.selected = {"emotions": sorted(self.emotions)} if emotions is not None else {}
        if subjects is not None:
            self.selected["subjects"] = sorted(self.subjects)

    def choices(self) -> dict[str, Any]:
        return {"emotions": sorted(self.emotions), "subjects": sorted(self.subjects)}

    def read(self) -> Inventory:
        """Parses the file names; if a clip is there twice (zipped and unpacked), the first one is used."""
        listing = list_files(self.root, SOUND_SUFFIXES)
        clips = describe_files(
            listing,
            listing.files,
            lambda file: describe(file.stem) if _is_clip(file.stem) else None,
            "without an EmoDB file name",
        )
        if len(clips):
            clips = clips[clips["emotion"].isin(self.emotions) & clips["subject"].isin(self.subjects)]
        complete = len(self.subjects) == len(MALE) + len(FEMALE)
        return Inventory(
            clips.drop(columns="file", errors="ignore").reset_index(drop=True),
            clips["file"].tolist() if len(clips) else [],
            expected={name: EXPECTED[name] for name in sorted(self.emotions)} if complete else {},
            selected=self.selected,
            notes=listing.notes,
            left_out=listing.left_out,
        )


def _is_clip(stem: str) -> bool:
    return bool(NAME.fullmatch(stem)) and stem[:2] in (*MALE, *FEMALE)


def describe(stem: str) -> dict[str, str]:
    """Parses the name of a file.

    Returns:
        A dict with ``clip, subject, emotion, sex, sentence``.

    Examples:
        >>> clip = describe("03a01Fa")
        >>> clip["subject"], clip["sentence"], clip["emotion"], clip["sex"]
        ('03', 'a01', 'happiness', 'male')
    """
    subject, sentence, emotion = stem[:2], stem[2:5], LETTERS[stem[5]]
    sex = "male" if subject in MALE else "female"
    return {"clip": stem, "subject": subject, "emotion": emotion, "sex": sex, "sentence": sentence}
