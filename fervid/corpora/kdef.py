"""KDEF: 70 subjects show seven expressions, photographed from five directions in two sessions."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory
from fervid.corpora.picture_corpus import PictureCorpus
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import PICTURE_SUFFIXES

CODES = {
    "AF": "afraid",
    "AN": "angry",
    "DI": "disgusted",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprised",
}
VIEWS = {
    "FL": "full left profile",
    "HL": "half left profile",
    "S": "straight",
    "HR": "half right profile",
    "FR": "full right profile",
}
SEXES = {"F": "female", "M": "male"}
SUBJECTS = tuple(f"{sex}{number:02d}" for sex in SEXES for number in range(1, 36))
SESSIONS = "AB"
# session, subject, emotion, view
NAME = re.compile(rf"([{SESSIONS}])({'|'.join(SUBJECTS)})({'|'.join(CODES)})({'|'.join(VIEWS)})")


class KDEF(PictureCorpus):
    """The Karolinska Directed Emotional Faces (Lundqvist, Flykt & Öhman 1998).

    Files are identified by their names, such as ``AF01ANS.JPG``. They may be in any folder or in zips. ``AF01`` and
    ``BF01`` are the same person in two sessions: the subject is ``F01``.

    Args:
        root: Path to the folder with the pictures or a zip.
        emotions: emotions to use; None: all seven.
        views: codes of the views to use, of ``FL``, ``HL``, ``S``, ``HR`` and ``FR``. Default: ``S``, straight.

    Raises:
        InputError: if an option is invalid or selects no pictures.
    """

    name = "kdef"
    licence = "for non-commercial research, by its authors' terms (kdef.se)"
    citation = (
        "D. Lundqvist, A. Flykt, A. Öhman: The Karolinska Directed Emotional Faces - KDEF. CD ROM from Department of "
        "Clinical Neuroscience, Psychology section, Karolinska Institutet, 1998."
    )
    expressions = "are posed by amateur actors in a studio, and look different elsewhere."

    def __init__(
        self, root: str | Path | None, *, emotions: Sequence[str] | None = None, views: Sequence[str] = ("S",)
    ):
        if isinstance(views, str) or not views or not set(views) <= VIEWS.keys():
            raise InputError(f"dataset.views={views} cannot be used: give a list such as [S] of {', '.join(VIEWS)}.")
        self.views = [code for code in VIEWS if code in views]
        per_emotion = len(SUBJECTS) * len(SESSIONS) * len(self.views)
        super().__init__(root, dict.fromkeys(CODES.values(), per_emotion), emotions)

    def choices(self) -> dict[str, Any]:
        return super().choices() | {"views": self.views}

    def read(self) -> Inventory:
        """Parses the file names; if a picture is there twice, the first one is used."""
        listing = list_files(self.root, PICTURE_SUFFIXES)
        rows = describe_files(listing, listing.files, _describe, "without a KDEF file name")
        if len(rows):
            rows = rows[rows["view"].isin([VIEWS[code] for code in self.views])]
        per_subject = len(SESSIONS) * len(self.emotions) * len(self.views)
        return self.take_stock(listing, rows, expected_subjects=dict.fromkeys(SUBJECTS, per_subject))


def _describe(file: File) -> dict[str, Any] | None:
    name = NAME.fullmatch(file.stem.upper())
    if not name:
        return None
    session, subject, emotion, view = name.groups()
    return {
        "clip": name[0],
        "subject": subject,
        "emotion": CODES[emotion],
        "sex": SEXES[subject[0]],
        "session": session,
        "view": VIEWS[view],
    }
