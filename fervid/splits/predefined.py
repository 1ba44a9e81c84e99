"""Splits that somebody made before: those of a CSV, and those that a corpus came with."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.errors import InputError, first_line
from fervid.schema.columns import check_spelling, corpora
from fervid.schema.csv_tables import read_csv
from fervid.schema.manifest import SPELLINGS, SPLITS
from fervid.schema.names import look_alikes, spelled_as
from fervid.splits.groups import check_val, clips_to_keep_whole, emotion_of_clips, validate_on_subjects

log = logging.getLogger(__name__)


def from_csv(manifest: pd.DataFrame, *, path: str | Path) -> np.ndarray:
    """Takes the sides from a CSV of one's own.

    Args:
        manifest: one row a frame.
        path: CSV with the column ``split`` (train, val or test, in the usual spellings) and one or more columns of
            the manifest, such as ``path``, ``clip`` or ``subject``: a row is about the frames that are alike in all.
            Of several corpora it needs the column ``corpus``, too.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those the file does not name, shape (N,).

    Raises:
        InputError: if the file cannot be read, lacks columns, contradicts itself, or leaves a side empty.
    """
    if path is None:
        raise InputError("split=csv needs split.path=<csv>: one with the columns split and path, clip or subject.")
    try:
        table = read_csv(Path(path).expanduser()).fillna("")
    except (OSError, ValueError) as error:
        raise InputError(f"split.path={path} cannot be read ({first_line(error)}): give a CSV.") from error
    columns = [column for column in table if column in manifest and column != "split"]
    if "split" not in table or not columns:
        raise InputError(
            f"split.path={path} has the column(s) {', '.join(table.columns)}: it needs split and one or more of those "
            f"of the corpus, such as path, clip or subject ({', '.join(manifest.columns)})."
        )
    if len(corpora(manifest)) > 1 and "corpus" not in columns:
        raise InputError(
            f"split.path={path} does not say which corpus its rows are about, and there are "
            f"{', '.join(corpora(manifest))}: add the column corpus."
        )
    check_spelling(table, set(manifest), f"split.path={path}")
    if "path" in columns:
        table["path"] = [spelled_as(name, set(manifest["path"]).__contains__) for name in table["path"]]
    table["split"] = _sides(table["split"], f"split.path={path}")
    table = table[[*columns, "split"]].drop_duplicates()
    twice = table[table.duplicated(columns)]
    if len(twice):
        raise InputError(f"split.path={path} puts {_first(twice[columns])} on two sides: leave one of its rows.")
    # A number, a truth value or nothing at all is compared as it stands in a file.
    frames = manifest[columns].map(lambda value: "" if pd.isna(value) else str(value))
    _name_look_alikes(path, table, frames)
    named = frames.merge(table.reset_index(names="row of the file"), on=columns, how="left")
    unnamed = named["split"].isna().to_numpy()
    idle = table[~table.index.isin(named["row of the file"])]
    if unnamed.all() and len(table):
        raise InputError(
            f"split.path={path} names no frame of the corpus: it says {_first(table[columns])}, where the corpus says "
            f"{_first(frames)}; write both alike."
        )
    if len(idle):
        log.warning("%d row(s) of %s name no frame of the corpus (first: %s).", len(idle), path, _first(idle[columns]))
    if unnamed.any():
        log.warning("%d of %d frames are not named in %s and are left out.", unnamed.sum(), len(manifest), path)
    split = np.full(len(manifest), None, dtype=object)
    split[~unnamed] = named["split"][~unnamed]
    for side in SPLITS:
        if side not in split:
            raise InputError(f"split.path={path} puts no frame on the {side} side: every side needs some.")
    return split


def predefined(manifest: pd.DataFrame, *, val: float, seed: int) -> np.ndarray:
    """Takes the sides that the corpus came with, such as folders train, validation and test.

    Args:
        manifest: one row a frame, with its ``predefined_split``; where that is missing the frame is left out.
        val: where the corpus has no side to validate on, the share of its training frames to draw for it: whole
            people where all are known, else whole clips.
        seed: of that draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those without a side, shape (N,).

    Raises:
        InputError: if the corpus has no sides, none to train or none to test on, or too little to validate on.
    """
    if "predefined_split" not in manifest:
        raise InputError(
            "split=predefined needs a corpus that comes with sides, and this one does not: use split=subject."
        )
    known = manifest["predefined_split"].notna().to_numpy()
    split = np.full(len(manifest), None, dtype=object)
    split[known] = _sides(manifest.loc[known, "predefined_split"], "predefined_split of the corpus")
    for side in ("train", "test"):
        if side not in split:
            raise InputError(f"the corpus came without a {side} side, which split=predefined needs: use split=subject.")
    if "val" in split:
        return split
    train = manifest[split == "train"]
    if train["subject"].notna().all():
        return validate_on_subjects(manifest, split, val, seed, "predefined")
    from sklearn.model_selection import train_test_split

    check_val(val)
    clip = clips_to_keep_whole(manifest)
    emotions = emotion_of_clips(clip[split == "train"], train["emotion"])
    try:
        _, drawn = train_test_split(emotions.index.to_numpy(), test_size=val, random_state=seed, stratify=emotions)
    except ValueError as error:
        raise InputError(
            f"{len(emotions)} clips to train on cannot be shared with validation: {first_line(error)}; leave the "
            "rarest emotion out, or raise split.val."
        ) from error
    split[(split == "train") & clip.isin(drawn).to_numpy()] = "val"
    return split


def _sides(words: pd.Series, where: str) -> np.ndarray:
    """The sides under their usual spellings."""
    sides = words.str.strip().str.lower().map(SPELLINGS)
    if sides.isna().any():
        unknown = words[sides.isna()].iloc[0]
        raise InputError(f"{where} has the side {unknown!r}: write train, val or test.")
    return sides.to_numpy(dtype=object)


def _name_look_alikes(path: str | Path, table: pd.DataFrame, frames: pd.DataFrame) -> None:
    """Warns of names in a split file that differ from the corpus's only in blanks, case or leading zeros."""
    for column in (name for name in frames if name != "path"):
        own, typed = set(frames[column]), set(table[column])
        for alike in map(set, look_alikes(own | typed)):
            if alike & own and alike - own:
                log.warning(
                    "split.path=%s has the %s %s where the corpus has %s: two names to fervid, so write them alike.",
                    *(path, column, ", ".join(sorted(alike - own)), ", ".join(sorted(alike & own))),
                )


def _first(rows: pd.DataFrame) -> str:
    return ", ".join(f"{column}={value!r}" for column, value in rows.iloc[0].items())
