"""Writes small pictures in the layouts of corpora of still pictures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import cv2
import numpy as np

from fervid.synthetic.rendering import make_identity, render_crops
from rendered_corpora.filming import mark

SIDE = 48


def draw(number: int = 1, *, size: int = SIDE) -> np.ndarray:
    """Draw a face in shades of gray; pictures with different numbers show different people."""
    clip = render_crops(make_identity(1 + number % 24, 0), "happy", take=0, frames=30, size=size, seed=0, times=[15])
    return cv2.cvtColor(clip.images[0], cv2.COLOR_RGB2GRAY)


def write_pictures(root: Path, paths: list[str], picture: np.ndarray | None = None) -> Path:
    """Write one picture, by default a plain one, under each of these paths, and mark the folder as rendered."""
    shown = np.full((SIDE, SIDE), 128, np.uint8) if picture is None else picture
    encoded: dict[str, bytes] = {}
    for path in paths:
        suffix = Path(path).suffix.lower()
        content = encoded.setdefault(suffix, cv2.imencode(suffix, shown)[1].tobytes())
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    root.mkdir(parents=True, exist_ok=True)
    mark(root)
    return root


def write_rows(path: Path, rows: list[tuple]) -> None:
    """Write a CSV file."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.getvalue())


def write_pixels(path: Path, rows: list[tuple[object, str]], *, blanks: bool = False) -> list[np.ndarray]:
    """Write a table of pixels, as FER2013 and a copy of CK+ have it.

    Args:
        path: Path to the CSV file.
        rows: Code of the emotion and Usage of each row.
        blanks: Whether names in the header start with a blank and Usage precedes pixels, as in `icml_face_data.csv`.

    Returns:
        The pictures.
    """
    pictures = [draw(number) for number in range(len(rows))]
    texts = [" ".join(map(str, picture.ravel())) for picture in pictures]
    if blanks:
        table = [("emotion", " Usage", " pixels")]
        table += [(code, usage, text) for (code, usage), text in zip(rows, texts, strict=True)]
    else:
        table = [("emotion", "pixels", "Usage")]
        table += [(code, text, usage) for (code, usage), text in zip(rows, texts, strict=True)]
    write_rows(path, table)
    mark(path.parent)
    return pictures


def write_ck_plus(root: Path, sequences: dict[tuple[str, str], tuple[int, str | None]]) -> Path:
    """Write sequences of CK+ in the original layout.

    Args:
        root: Folder to write to.
        sequences: Number of frames, and text of the label or None, by subject and sequence.
    """
    for (subject, sequence), (frames, label) in sequences.items():
        stem = f"{subject}_{sequence}"
        names = [f"{stem}_{frame:08d}" for frame in range(1, frames + 1)]
        write_pictures(root / "cohn-kanade-images", [f"{subject}/{sequence}/{name}.png" for name in names])
        folder = root / "Emotion" / subject / sequence
        folder.mkdir(parents=True)  # stays empty if there is no label
        if label is not None:
            (folder / f"{names[-1]}_emotion.txt").write_text(label)
    mark(root)
    return root


def write_affectnet_tables(root: Path, rows: dict[str, list[tuple]]) -> Path:
    """Write AffectNet in its first layout.

    Args:
        root: Folder to write to.
        rows: Path, face box (4 numbers), code, valence and arousal of each picture, by the name of the table.
    """
    header = "subDirectory_filePath face_x face_y face_width face_height facial_landmarks expression valence arousal"
    for name, pictures in rows.items():
        table = [(path, *box, "1;2", code, valence, arousal) for path, box, code, valence, arousal in pictures]
        write_rows(root / "Manually_Annotated_file_lists" / name, [tuple(header.split()), *table])
        write_pictures(root / "Manually_Annotated_Images", [row[0] for row in pictures], draw(size=96))
    return root


def write_affectnet_arrays(root: Path, rows: dict[str, list[tuple]]) -> Path:
    """Write AffectNet in its later layout.

    Args:
        root: Folder to write to.
        rows: Number, and arrays of expression, valence and arousal of each picture, by `train_set` or `val_set`.
    """
    for folder, pictures in rows.items():
        write_pictures(root, [f"{folder}/images/{number}.jpg" for number, *_ in pictures])
        (root / folder / "annotations").mkdir()
        for number, *values in pictures:
            for kind, value in zip(("exp", "val", "aro"), values, strict=True):
                np.save(root / folder / "annotations" / f"{number}_{kind}.npy", np.array(value))
            np.save(root / folder / "annotations" / f"{number}_lnd.npy", np.zeros(136))
    return root
