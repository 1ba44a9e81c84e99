"""RAF-DB: 15,339 pictures from the web with one of seven basic emotions, each labelled by about 40 people."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.file_names import describe_files
from fervid.corpora.inventory import Inventory
from fervid.corpora.picture_corpus import PictureCorpus, subset_notes
from fervid.corpora.pixel_tables import read_table
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import PICTURE_SUFFIXES

COUNTS = {
    "surprise": 1619,
    "fear": 355,
    "disgust": 877,
    "happiness": 5957,
    "sadness": 2460,
    "anger": 867,
    "neutral": 3204,
}
CODES = {str(code): name for code, name in enumerate(COUNTS, start=1)}
PICTURES = {"train": 12_271, "test": 3068}
LABELS = ("list_patition_label.txt", "list_partition_label.txt")  # as published, and as corrected in some copies
NAME = re.compile(r"((train|test)_\d+)_aligned")


class RAFDB(PictureCorpus):
    """The basic part of the Real-world Affective Faces Database (Li, Deng & Du 2017), with aligned pictures.

    Subjects are unknown. The official subsets are available as ``split=predefined``; validation is drawn from training.

    Args:
        root: Path to the folder ``basic`` with ``EmoLabel/list_patition_label.txt`` and ``Image/aligned``, or to a copy
            with the folders ``train/1`` to ``train/7`` and ``test/1`` to ``test/7``, or to a zip of either.
        emotions: emotions to use; None: all seven.

    Raises:
        InputError: if an option is invalid, there are no aligned pictures, or the labels cannot be read.
    """

    name = "raf_db"
    licence = "for non-commercial research, on request"
    citation = (
        "S. Li, W. Deng, J. Du: Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression "
        "Recognition in the Wild. CVPR, 2017. https://doi.org/10.1109/CVPR.2017.277"
    )
    expressions = "come from the web and may be acted or spontaneous; about 40 people labelled each."

    def __init__(self, root: str | Path | None, *, emotions: Sequence[str] | None = None):
        super().__init__(root, COUNTS, emotions)

    def read(self) -> Inventory:
        """Joins the aligned pictures with their labels: those of the list, or else the numbers of the folders."""
        listing = list_files(self.root, PICTURE_SUFFIXES | {".txt"})
        basic = [file for file in listing.files if "compound" not in map(str.lower, file.parts)]
        compound = [file.path for file in listing.files if "compound" in map(str.lower, file.parts)]
        listing.leave_out("of the compound part", compound)
        lists = [file for file in basic if file.parts[-1].lower() in LABELS]
        codes = _read_labels(lists[0]) if lists else {}
        pictures = [file for file in basic if file.suffix != ".txt"]
        rows = describe_files(
            listing,
            pictures,
            lambda file: _describe(file, codes if lists else None),
            "not an aligned picture such as train_00001_aligned.jpg",
        )
        if not len(rows):
            raise InputError(
                f"dataset.root={self.root} has no aligned pictures such as Image/aligned/train_00001_aligned.jpg: give "
                f"the folder basic of RAF-DB, or a copy with train/1 to train/7. {' '.join(listing.notes)}".strip()
            )
        unlabelled = rows["code"].isna()
        where = lists[0].path if lists else "a folder such as train/1"
        listing.leave_out(f"without a label in {where}", [file.path for file in rows["file"][unlabelled]])
        rows = rows[~unlabelled].assign(emotion=rows["code"].map(CODES))
        bad = rows[rows["emotion"].isna()]
        dropped = [
            (file.path, f"emotion code {code!r} is unknown")
            for file, code in zip(bad["file"], bad["code"], strict=True)
        ]
        found = set(rows["clip"])
        missing = [clip for clip, code in codes.items() if CODES.get(code) in self.emotions and clip not in found]
        return self.take_stock(
            listing,
            rows.drop(columns="code"),
            notes=subset_notes(rows.loc[rows["emotion"].notna(), "predefined_split"], PICTURES),
            missing=missing,
            dropped=pd.DataFrame(dropped, columns=["path", "reason"]),
        )


def _read_labels(file: File) -> dict[str, str]:
    """Returns the code of the emotion of each picture, such as ``train_00001``."""
    table = read_table(file, sep=r"\s+", header=None)
    if len(table.columns) != 2:
        raise InputError(
            f"{file.path} has {len(table.columns)} columns: a picture and the code of its emotion are expected."
        )
    names = table.iloc[:, 0].fillna("").str.replace(r"(_aligned)?\.\w+$", "", regex=True)
    return dict(zip(names, table.iloc[:, 1].fillna(""), strict=True))


def _describe(file: File, codes: dict[str, str] | None) -> dict[str, Any] | None:
    """Describes an aligned picture, labelled by its folder if there are no ``codes``; None for other files."""
    name = NAME.fullmatch(file.stem)
    if not name:
        return None
    folder = file.parts[-2] if len(file.parts) > 1 else ""
    code = (folder if folder.isdecimal() else None) if codes is None else codes.get(name[1])
    return {"clip": name[1], "subject": None, "code": code, "predefined_split": name[2]}
