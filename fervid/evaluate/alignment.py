"""Finds the rows of several tables that belong to the same samples, also across modalities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import CLIP_KEY, FRAME_KEY
from fervid.schema.emotions import shared_name


@dataclass(frozen=True)
class Alignment:
    """Rows of several tables that belong to the same N samples.

    Attributes:
        base: number of the table whose rows are the samples: the first one with several rows per clip, else the first.
        rows: positions (N,) of the rows of each table; those of a table with one row per clip are repeated for each
            sample of the clip.
        matched: column by which clips were matched: ``clip`` or ``recording``.
        per_clip: for each table, whether it has one row per clip while the base has several.
        same_kind: whether the tables have the same clip names and either all one row per clip or all several.
        unused: number of rows of each table that belong to no sample.
    """

    base: int
    rows: list[np.ndarray]
    matched: str
    per_clip: list[bool]
    same_kind: bool
    unused: list[int]

    @property
    def is_complete(self) -> bool:
        """Whether every row of every table belongs to a sample."""
        return not any(self.unused)

    def keeps_rows(self, number: int) -> bool:
        """Whether the samples are the rows of a table, each exactly once.

        Args:
            number: number of the table.
        """
        return not self.unused[number] and np.unique(self.rows[number]).size == self.rows[number].size

    def sentences(self, names: Sequence[str]) -> list[str]:
        """Returns sentences on how the tables were matched and on omitted rows.

        Args:
            names: name of each table.
        """
        found = []
        if self.matched == "recording":
            found.append("The clips of the members have different names and are matched by the column recording.")
        for name, per_clip in zip(names, self.per_clip, strict=True):
            if per_clip:
                found.append(f"{name} has one prediction per clip, which is used for each frame of the clip.")
        for name, unused in zip(names, self.unused, strict=True):
            if unused:
                found.append(f"{name}: {unused} rows are omitted because another member lacks them.")
        return found


def align_tables(tables: Sequence[pd.DataFrame]) -> Alignment:
    """Aligns tables of frames or clips, such as the test samples of a face run and of a sound run.

    Clips are matched by ``corpus`` and ``clip``, or by ``corpus`` and ``recording`` if the clips of two tables have no
    name in common and all tables have this column. Frames of a clip are matched by ``frame``. A table with one row per
    clip has no frames to match: its row belongs to every frame of the clip in the other tables.

    Args:
        tables: at least one table with ``corpus``, ``clip``, ``frame`` and, for other modalities, ``recording``.

    Raises:
        InputError: if a table has several clips of a recording that must be matched by its name.

    Examples:
        >>> face = pd.DataFrame({"corpus": "c", "clip": ["02-a", "02-a", "02-b"], "recording": ["a", "a", "b"]})
        >>> sound = pd.DataFrame({"corpus": "c", "clip": ["03-b", "03-a"], "recording": ["b", "a"]})
        >>> found = align_tables([face.assign(frame=[0, 8, 0]), sound.assign(frame=0)])
        >>> found.matched, [rows.tolist() for rows in found.rows]
        ('recording', [[0, 1, 2], [1, 1, 0]])
    """
    matched = "recording" if _have_different_names(tables) else "clip"
    clips = [pd.MultiIndex.from_frame(table[["corpus", matched]]) for table in tables]
    one_row = [index.is_unique for index in clips]
    base = one_row.index(False) if not all(one_row) else 0
    base_frames = _frames(tables[base], matched)
    found = []
    for number, table in enumerate(tables):
        if number == base:
            found.append(np.arange(len(table)))
            continue
        index, wanted = (clips[number], clips[base]) if one_row[number] else (_frames(table, matched), base_frames)
        if not index.is_unique:
            double = index[index.duplicated()][0][1]
            raise InputError(
                f"several clips of the recording {double} are among the tested ones of a member, so it is unclear "
                "which of them belongs to the clip of another member: evaluate runs of one modality each."
            )
        found.append(index.get_indexer(wanted))
    is_common = np.all([positions >= 0 for positions in found], axis=0)
    rows = [positions[is_common] for positions in found]
    return Alignment(
        base=base,
        rows=rows,
        matched=matched,
        per_clip=[alone and not all(one_row) for alone in one_row],
        same_kind=matched == "clip" and (all(one_row) or not any(one_row)),
        unused=[len(table) - np.unique(part).size for table, part in zip(tables, rows, strict=True)],
    )


def check_labels(tables: Sequence[pd.DataFrame], column: str) -> None:
    """Checks that aligned tables have the same labels.

    Args:
        tables: tables of N rows each, aligned.
        column: column with the labels, as any corpus names them.

    Raises:
        InputError: if a sample has different labels.
    """
    first = tables[0][column].map(shared_name).to_numpy()
    for table in tables[1:]:
        labels = table[column].map(shared_name).to_numpy()
        if (labels != first).any():
            row = int(np.flatnonzero(labels != first)[0])
            raise InputError(
                f"{tables[0]['clip'].iloc[row]} is labelled {first[row]}, but {table['clip'].iloc[row]}, which was "
                f"matched to it, is labelled {labels[row]}: evaluate runs of the same corpus."
            )


def _have_different_names(tables: Sequence[pd.DataFrame]) -> bool:
    """Whether a table has no clip in common with the first, and all tables say which recording a clip is of."""
    if not all("recording" in table and table["recording"].notna().all() for table in tables):
        return False
    first, *others = (pd.MultiIndex.from_frame(table[CLIP_KEY]) for table in tables)
    return any(not index.isin(first).any() for index in others)


def _frames(table: pd.DataFrame, matched: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[[matched if name == "clip" else name for name in FRAME_KEY]])
