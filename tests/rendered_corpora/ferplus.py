"""Writes pictures and votes in the layouts of FER+."""

from __future__ import annotations

import csv
import io
import zipfile
from itertools import islice, product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fervid.synthetic.rendering import make_identity, render_crops
from rendered_corpora.filming import ACTED_AS, mark

FERPLUS_CATEGORIES = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),
)
FERPLUS_FOLDERS = {"FER2013Train": "Training", "FER2013Valid": "PublicTest", "FER2013Test": "PrivateTest"}
SIDE = 48


def write_ferplus(
    root: str | Path,
    *,
    layout: str = "folders",
    emotions: tuple[str, ...] = ("neutral", "happiness", "surprise"),
    counts: tuple[int, int, int] = (12, 6, 6),
    votes: list[tuple[int, ...]] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Write pictures of 48 px and the votes on them.

    Args:
        root: Folder to write to.
        layout: `folders` (`FER2013Train` and so on, with `label.csv`), `zip` (`FERPlus.zip` with these folders) or
            `csv` (`fer2013.csv` and `fer2013new.csv`). The first two contain `fer2013new.csv` as well.
        emotions: Emotions of the pictures, which alternate. Each has 6 to 8 of 10 votes; the others go to the next one.
        counts: Number of pictures in the training, validation and test subset.
        votes: Votes of the first pictures, instead of those by `emotions`.
        seed: Random seed of the rendered subjects.

    Returns:
        One row per picture: `clip`, `folder`, `usage`, the category with the most votes as `emotion`, and a column
        `votes_<category>` for each category.
    """
    written, pictures = [], []
    folders = [folder for folder, count in zip(FERPLUS_FOLDERS, counts, strict=True) for _ in range(count)]
    for number, (folder, (take, emotion)) in enumerate(
        zip(folders, islice(product(range(sum(counts)), emotions), sum(counts)), strict=True)
    ):
        cast = dict.fromkeys(FERPLUS_CATEGORIES, 0)
        cast[emotion] = 6 + number % 3
        cast[emotions[(emotions.index(emotion) + 1) % len(emotions)]] += 4 - number % 3
        if votes and number < len(votes):
            cast = dict(zip(FERPLUS_CATEGORIES, votes[number], strict=True))
        who = make_identity(1 + number % 24, seed)
        shown = "calm" if emotion == "contempt" else ACTED_AS.get(emotion, emotion)
        clip = render_crops(who, shown, take=take, frames=30, size=SIDE, seed=seed, times=[15])
        pictures.append(cv2.cvtColor(clip.images[0], cv2.COLOR_RGB2GRAY))
        written.append(
            {"clip": f"fer{number:07d}", "folder": folder, "usage": FERPLUS_FOLDERS[folder]}
            | {"emotion": max(cast, key=cast.__getitem__)}
            | {f"votes_{name}": count for name, count in cast.items()}
        )
    table = pd.DataFrame(written)
    files = _published_votes(table) | (_pixels(table, pictures) if layout == "csv" else _folders(table, pictures))
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    if layout == "zip":
        with zipfile.ZipFile(root / "FERPlus.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"FERPlus/{name}", content)
    else:
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    mark(root)
    return table


def _folders(table: pd.DataFrame, pictures: list[np.ndarray]) -> dict[str, bytes]:
    files = {}
    for folder, rows in table.groupby("folder"):
        labels = [(f"{row['clip']}.png", f"(0, 0, {SIDE}, {SIDE})", *_votes(row)) for _, row in rows.iterrows()]
        files[f"{folder}/label.csv"] = _csv(labels)
        files |= {
            f"{folder}/{table['clip'][row]}.png": cv2.imencode(".png", pictures[row])[1].tobytes() for row in rows.index
        }
    return files


def _published_votes(table: pd.DataFrame) -> dict[str, bytes]:
    # The published file has no name for a picture on which all votes are NF.
    names = ["" if row["votes_NF"] == 10 else f"{row['clip']}.png" for _, row in table.iterrows()]
    rows = [(row["usage"], name, *_votes(row)) for name, (_, row) in zip(names, table.iterrows(), strict=True)]
    return {"fer2013new.csv": _csv([("Usage", "Image name", *FERPLUS_CATEGORIES), *rows])}


def _pixels(table: pd.DataFrame, pictures: list[np.ndarray]) -> dict[str, bytes]:
    rows = [
        (3, " ".join(map(str, picture.ravel())), usage) for usage, picture in zip(table["usage"], pictures, strict=True)
    ]
    return {"fer2013.csv": _csv([("emotion", "pixels", "Usage"), *rows])}


def _votes(row: pd.Series) -> list[int]:
    return [int(row[f"votes_{name}"]) for name in FERPLUS_CATEGORIES]


def _csv(rows: list[tuple]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()
