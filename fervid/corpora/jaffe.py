"""JAFFE: ten Japanese women pose seven expressions, in 213 pictures."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory, absent_subjects
from fervid.corpora.picture_corpus import PictureCorpus
from fervid.media.files import File, list_files
from fervid.media.formats import PICTURE_SUFFIXES

CODES = {
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
COUNTS = {"angry": 30, "disgust": 29, "fear": 32, "happy": 31, "neutral": 30, "sad": 31, "surprise": 30}
SUBJECTS = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
NAME = re.compile(rf"({'|'.join(SUBJECTS)})\.({'|'.join(CODES)})(\d)\.\d+")  # subject, emotion, number of the pose


class JAFFE(PictureCorpus):
    """The Japanese Female Facial Expression dataset (Lyons, Akamatsu, Kamachi & Gyoba 1998).

    Files are identified by their names, such as ``KA.AN1.39.tiff``. They may be in any folder or in zips. The label is
    the expression that the subject was asked for.

    Args:
        root: Path to the folder with the pictures or a zip.
        emotions: emotions to use; None: all seven.

    Raises:
        InputError: if an option is invalid or selects no pictures.
    """

    name = "jaffe"
    licence = "for non-commercial research, by its authors' terms (doi.org/10.5281/zenodo.3451524)"
    citation = (
        "M. J. Lyons, S. Akamatsu, M. Kamachi, J. Gyoba: Coding Facial Expressions with Gabor Wavelets. FG, 1998. "
        "https://doi.org/10.1109/AFGR.1998.670949"
    )
    expressions = "are posed by ten women in a laboratory, and look different elsewhere."

    def __init__(self, root: str | Path | None, *, emotions: Sequence[str] | None = None):
        super().__init__(root, COUNTS, emotions)

    def read(self) -> Inventory:
        """Parses the file names; if a picture is there twice, the first one is used."""
        listing = list_files(self.root, PICTURE_SUFFIXES)
        rows = describe_files(listing, listing.files, _describe, "without a JAFFE file name")
        return self.take_stock(listing, rows, notes=absent_subjects(SUBJECTS, rows))


def _describe(file: File) -> dict[str, Any] | None:
    name = NAME.fullmatch(file.stem.upper())
    if not name:
        return None
    return {"clip": name[0], "subject": name[1], "emotion": CODES[name[2]], "sex": "female", "take": int(name[3])}
