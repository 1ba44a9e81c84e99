"""Writes the face crops of a clip, and joins what the journals record of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from fervid.errors import InputError
from fervid.faces.clip_faces import Crop
from fervid.prepare.preparation import list_failures, read_journals, result_path
from fervid.schema.columns import Role, columns_of

FRAME_COLUMNS = ("frame", "time", *columns_of(Role.GEOMETRY), "face")


def write_faces(folder: Path, clip: pd.Series, crop: Crop) -> dict[str, Any]:
    """Writes the faces of a clip below ``folder/faces`` and returns what the journal records of them."""
    for frame, jpeg in zip(crop.frames, crop.faces, strict=True):
        frame["face"] = None
        if jpeg:
            path = result_path(folder / "faces", crop.row, clip, f"_{frame['frame']:05d}.jpg")
            path.write_bytes(jpeg)
            frame["face"] = path.relative_to(folder).as_posix()
    return {"frames": crop.frames, "sums": crop.sums}


def join_faces(folder: Path, clips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[int]]:
    """Joins all journals of a folder into one table.

    Args:
        folder: Path to the folder with faces and journals of all clips.
        clips: one row per clip.

    Returns:
        The manifest, the failures and the pixel sums. The manifest has one row per frame, in the order of ``clips``,
        with the columns of the clip and ``face``, a path in the folder or None. Failures have the columns ``path`` and
        ``reason``. Pixel sums are those of :class:`fervid.faces.clip_faces.Crop` over all faces.

    Raises:
        InputError: if no clip has a face.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("row", *FRAME_COLUMNS)}
    sums = [0] * 9
    failed: dict[int, str] = {}
    for entry in read_journals(folder):
        failed |= {entry["row"]: entry["failure"]} if entry["failure"] else {}
        sums = [before + value for before, value in zip(sums, entry["sums"], strict=True)]
        for frame in entry["frames"]:
            columns["row"].append(entry["row"])
            for name in FRAME_COLUMNS:
                columns[name].append(frame.get(name))
    if not any(columns["face"]):
        raise InputError(f"no face was found in any of {len(clips)} files: check dataset.root and the detector.")
    # Clips finish in any order. Columns without any value, such as those of eyes, are dropped.
    table = pd.DataFrame(columns).sort_values("row", kind="stable", ignore_index=True)
    absent = [name for name in columns_of(Role.GEOMETRY) if table[name].isna().all()]
    table = table.drop(columns=absent)
    manifest = clips.loc[table.pop("row")].reset_index(drop=True).join(table)
    return manifest, list_failures(clips, failed), sums
