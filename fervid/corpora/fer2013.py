"""FER2013: 35,887 pictures of 48 px from a web search, with seven emotions."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory
from fervid.corpora.picture_corpus import PictureCorpus, subset_notes
from fervid.corpora.pixel_tables import USAGES, check_usages, read_pixel_rows
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import PICTURE_SUFFIXES
from fervid.schema.emotions import shared_name
from fervid.schema.manifest import SPELLINGS

COUNTS = {"angry": 4953, "disgust": 547, "fear": 5121, "happy": 8989, "sad": 6077, "surprise": 4002, "neutral": 6198}
EMOTIONS = tuple(COUNTS)  # in the order of their codes, from 0
PICTURES = {"train": 28_709, "val": 3589, "test": 3589}
TABLES = ("fer2013.csv", "icml_face_data.csv")
NAME = re.compile(rf"({'|'.join(USAGES)})_\d+")  # of a picture in copies that keep the subset in its name


class FER2013(PictureCorpus):
    """The Facial Expression Recognition 2013 dataset (Goodfellow et al. 2013).

    Subjects are unknown. The official subsets are available as ``split=predefined``: Training is train, PublicTest is
    val and PrivateTest is test.

    Args:
        root: Path to a folder with ``fer2013.csv`` or ``icml_face_data.csv``, or with pictures in the folders
            ``train/<emotion>`` and ``test/<emotion>``; or to a zip of them, which is not unpacked.
        emotions: emotions to use; None: all seven.

    Raises:
        InputError: if an option is invalid, or there are neither pictures nor a table, or it cannot be read.
    """

    name = "fer2013"
    licence = "for research; the pictures come from the web"
    citation = (
        "I. J. Goodfellow et al.: Challenges in Representation Learning: A Report on Three Machine Learning Contests. "
        "ICONIP, 2013. https://doi.org/10.1007/978-3-642-42051-1_16"
    )
    expressions = "come from a web search for emotion words and may be acted or spontaneous; the labels are noisy."

    def __init__(self, root: str | Path | None, *, emotions: Sequence[str] | None = None):
        super().__init__(root, COUNTS, emotions)

    def read(self) -> Inventory:
        """Reads the labels; if there is a table, pictures in folders are not used."""
        listing = list_files(self.root, PICTURE_SUFFIXES | {".csv"})
        tables = {file.parts[-1].lower(): file for file in reversed(listing.files) if file.suffix == ".csv"}
        pictures = [file for file in listing.files if file.suffix != ".csv"]
        used = next((tables[name] for name in TABLES if name in tables), None)
        others = [file.path for file in listing.files if file.suffix == ".csv" and file is not used]
        listing.leave_out("tables that are not used", others)
        dropped = pd.DataFrame(columns=["path", "reason"])
        if used is not None:
            listing.leave_out(f"pictures, since {used.path} is used", [file.path for file in pictures])
            rows, dropped = _from_pixels(used)
        elif pictures:
            rows = describe_files(listing, pictures, _describe, "not in a folder such as train/angry")
        else:
            raise InputError(
                f"dataset.root={self.root} has neither fer2013.csv or icml_face_data.csv, nor pictures: give a folder "
                f"with one of them. {' '.join(listing.notes)}".strip()
            )
        return self.take_stock(listing, rows, notes=_subset_notes(rows), dropped=dropped)


def _from_pixels(table: File) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the usable rows of the table, and the others with ``path`` and ``reason``."""
    rows = read_pixel_rows(table)
    emotion = rows["emotion"].map({str(code): name for code, name in enumerate(EMOTIONS)})
    rows = pd.DataFrame(
        {
            "clip": [f"fer{row:07d}" for row in rows.index],  # as FER+ names the same picture
            "subject": None,
            "emotion": emotion,
            "predefined_split": check_usages(table, rows["Usage"]),
            "file": rows["file"],
            "reason": "emotion code " + rows["emotion"].fillna("''") + " is unknown",
        }
    )
    bad = rows[emotion.isna()]
    dropped = pd.DataFrame({"path": [file.path for file in bad["file"]], "reason": bad["reason"].tolist()})
    return rows[emotion.notna()].drop(columns="reason"), dropped


def _describe(file: File) -> dict[str, Any] | None:
    """Describes a picture in a folder such as ``train/angry``; None if it is elsewhere."""
    folders = file.parts[-3:-1]
    known = {shared_name(name): name for name in EMOTIONS}
    subset = SPELLINGS.get(folders[0].lower()) if len(folders) == 2 else None
    emotion = known.get(shared_name(folders[-1])) if folders else None
    if subset is None or emotion is None:
        return None
    name = NAME.fullmatch(file.stem)
    return {
        "clip": "/".join(file.parts[-3:]),
        "subject": None,
        "emotion": emotion,
        "predefined_split": USAGES[name[1]] if name else subset,
    }


def _subset_notes(rows: pd.DataFrame) -> list[str]:
    found = rows["predefined_split"] if len(rows) else pd.Series(dtype=object)
    if (found == "val").any():
        return subset_notes(found, PICTURES)
    return subset_notes(found, {"train": PICTURES["train"], "test": PICTURES["val"] + PICTURES["test"]})
