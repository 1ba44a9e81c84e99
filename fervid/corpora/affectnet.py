"""AffectNet: pictures from the web with one of eight emotions, and their valence and arousal."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.corpora.inventory import Inventory, note
from fervid.corpora.picture_corpus import PictureCorpus, subset_notes
from fervid.corpora.pixel_tables import check_columns, read_table
from fervid.errors import InputError
from fervid.faces.face import Face
from fervid.media.files import File, Listing, list_files
from fervid.media.formats import PICTURE_SUFFIXES
from fervid.media.sources import read_bytes

EMOTIONS = (
    "neutral",
    "happy",
    "sad",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)  # by code
UNUSED = {"8": "none of the emotions", "9": "uncertain emotion", "10": "not a face"}
TRAIN = (74_874, 134_415, 25_459, 14_090, 6378, 3803, 24_882, 3750)
TEST = 500  # of each emotion
SUBSETS = {"training.csv": "train", "validation.csv": "test", "train_set": "train", "val_set": "test"}
BOX = ["face_x", "face_y", "face_width", "face_height"]
COLUMNS = ["subDirectory_filePath", *BOX, "expression", "valence", "arousal"]


class AffectNet(PictureCorpus):
    """The manually labelled pictures of AffectNet (Mollahosseini, Hasani & Mahoor 2017).

    Two layouts are read: the first one, with ``training.csv`` and ``validation.csv``, whose pictures are cropped by
    their annotated face boxes; and the later one, with ``train_set`` and ``val_set``, whose pictures are cropped
    already. The columns ``valence`` and ``arousal`` are kept, from -1 to 1.

    Subjects are unknown. With ``split=predefined``, the published validation subset is the test subset, as in most
    papers, since the published test subset has no labels; validation is drawn from training.

    Args:
        root: Path to the folder with one of the layouts.
        classes: 8, or 7 without contempt.
        emotions: emotions to use; None: all of ``classes``.

    Raises:
        InputError: if an option is invalid, labels are missing or cannot be read, or reading them would need pickle.
    """

    name = "affectnet"
    licence = "for non-commercial research, on request"
    citation = (
        "A. Mollahosseini, B. Hasani, M. H. Mahoor: AffectNet: A Database for Facial Expression, Valence, and Arousal "
        "Computing in the Wild. IEEE Transactions on Affective Computing 10(1), 2019. "
        "https://doi.org/10.1109/TAFFC.2017.2740923"
    )
    expressions = "come from a web search for emotion words and may be acted or spontaneous; one person labelled most."

    def __init__(self, root: str | Path | None, *, classes: int = 8, emotions: Sequence[str] | None = None):
        if classes not in (7, 8):
            raise InputError(f"dataset.classes={classes} cannot be used: give 8, or 7 without contempt.")
        counts = {name: count + TEST for name, count in zip(EMOTIONS, TRAIN, strict=True)}
        super().__init__(root, dict(list(counts.items())[:classes]), emotions)
        self.classes = classes

    def choices(self) -> dict[str, Any]:
        cropped = {} if self.inventory.faces is None else {"detector": "face boxes annotated in AffectNet"}
        return {"classes": self.classes, **super().choices(), **cropped}

    def read(self) -> Inventory:
        """Reads the labels and finds their pictures."""
        listing = list_files(self.root, PICTURE_SUFFIXES | {".csv", ".npy"})
        by_kind: dict[str, list[File]] = {".csv": [], ".npy": [], "": []}
        for file in listing.files:
            by_kind.get(file.suffix, by_kind[""]).append(file)
        tables = [file for file in by_kind[".csv"] if file.parts[-1].lower() in SUBSETS]
        listing.leave_out("other tables", [file.path for file in by_kind[".csv"] if file not in tables])
        if tables:
            rows = _from_tables(listing, tables, by_kind[""])
        elif by_kind[".npy"]:
            rows = _from_arrays(listing, by_kind[".npy"], by_kind[""])
        else:
            raise InputError(
                f"dataset.root={self.root} has neither training.csv and validation.csv, nor train_set/annotations and "
                f"val_set/annotations: give a folder with the labels. {' '.join(listing.notes)}".strip()
            )
        return self._take_stock(listing, rows, boxes=bool(tables))

    def _take_stock(self, listing: Listing, rows: pd.DataFrame, *, boxes: bool) -> Inventory:
        for code, meaning in UNUSED.items():
            listing.leave_out(meaning, rows.loc[rows["code"] == code, "path"].tolist())
        rows = rows[~rows["code"].isin(UNUSED)]
        emotion = rows["code"].map({str(code): name for code, name in enumerate(EMOTIONS)})
        reason = pd.Series(None, rows.index, dtype=object)
        if boxes:
            reason[~(rows[BOX].notna().all(axis=1) & (rows[BOX[2:]] > 0).all(axis=1))] = "no face box"
        reason[emotion.isna()] = "emotion code " + rows["code"].map(repr) + " is unknown"
        reason[rows["file"].isna()] = "no such picture"
        usable = reason.isna()
        dropped = rows.loc[~usable, ["path"]].assign(reason=reason[~usable])
        rows = rows[usable].assign(emotion=emotion[usable])
        for name in ("valence", "arousal"):
            values = pd.to_numeric(rows[name], errors="coerce")
            rows[name] = values.where(values.between(-1, 1))
        used = rows[rows["emotion"].isin(self.emotions)]
        published = {"train": sum(TRAIN[: self.classes]), "test": TEST * self.classes}
        known = rows.loc[rows["emotion"].isin(self.counts), "predefined_split"]
        unrated = used.loc[used[["valence", "arousal"]].isna().any(axis=1), "path"].tolist()
        return self.take_stock(
            listing,
            used[["clip", "subject", "emotion", "predefined_split", "valence", "arousal", "file"]],
            notes=subset_notes(known, published) + note("without valence and arousal from -1 to 1", unrated),
            dropped=dropped,
            faces=[Face((x, y, width, height)) for x, y, width, height in used[BOX].to_numpy(float)] if boxes else None,
        )


def _from_tables(listing: Listing, tables: list[File], pictures: list[File]) -> pd.DataFrame:
    """Reads the tables: one row per picture, with ``code``, ``path`` and ``file`` (missing if there is no picture)."""
    files = {"/".join(file.parts[-2:]): file for file in reversed(pictures)}
    parts = []
    for table in tables:
        rows = read_table(table)
        check_columns(table, rows, COLUMNS)
        rows = rows[COLUMNS].rename(columns={"subDirectory_filePath": "clip", "expression": "code"})
        rows[BOX] = rows[BOX].apply(pd.to_numeric, errors="coerce")
        parts.append(rows.assign(predefined_split=SUBSETS[table.parts[-1].lower()]))
    rows = pd.concat(parts, ignore_index=True).fillna({"clip": "", "code": ""})
    repeated = rows["clip"].duplicated()
    listing.leave_out("listed twice", rows.loc[repeated, "clip"].tolist())
    rows = rows[~repeated]
    listed = set(rows["clip"])
    listing.leave_out(
        f"not listed in {' or '.join(table.parts[-1] for table in tables)}",
        [file.path for name, file in files.items() if name not in listed],
    )
    return rows.assign(subject=None, path=rows["clip"], file=rows["clip"].map(files))


def _from_arrays(listing: Listing, arrays: list[File], pictures: list[File]) -> pd.DataFrame:
    """Reads one array per picture and label: one row per picture, with ``code``, ``path`` and ``file``."""
    found = {(file.parts[-3], file.stem): file for file in arrays if _is_in(file, "annotations")}
    rows: list[dict[str, Any]] = []
    unlabelled: list[str] = []
    for file in pictures:
        folder = file.parts[-3] if _is_in(file, "images") else ""
        labels = [found.get((folder, f"{file.stem}_{kind}")) for kind in ("exp", "val", "aro")]
        if labels[0] is None:
            unlabelled.append(file.path)
            continue
        code, valence, arousal = (_read_array(label) if label else "" for label in labels)
        rows.append({"clip": f"{folder}/{file.stem}", "subject": None, "code": code, "valence": valence})
        rows[-1] |= {"arousal": arousal, "predefined_split": SUBSETS[folder], "path": file.path, "file": file}
    listing.leave_out("without a label such as train_set/annotations/0_exp.npy", unlabelled)
    if not rows:
        raise InputError(
            "dataset.root has no labelled pictures: train_set/images/0.jpg needs train_set/annotations/0_exp.npy, and "
            "so on."
        )
    return pd.DataFrame(rows)


def _is_in(file: File, folder: str) -> bool:
    """Whether a file is in this folder of ``train_set`` or ``val_set``."""
    return len(file.parts) > 2 and file.parts[-2] == folder and file.parts[-3] in SUBSETS


def _read_array(file: File) -> str:
    """Returns the single value of an array as text, a whole number without its point; empty if it has none.

    Raises:
        InputError: if the array holds Python objects: reading them would need pickle, which can run any program.
    """
    try:
        values = np.load(BytesIO(read_bytes(file.source)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "pickle" in str(error):
            raise InputError(
                f"{file.path} is not an array of text or numbers, and reading it would need pickle, which can run any "
                "program: save the annotations as text or numbers."
            ) from error
        return ""
    if not isinstance(values, np.ndarray) or values.size != 1 or values.dtype.kind not in "USiuf":
        return ""
    value = values.reshape(-1)[0]
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.strip().removesuffix(".0")
