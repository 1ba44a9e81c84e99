"""Splits made elsewhere: read from a CSV, or defined by the corpus."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.errors import InputError, first_line
from fervid.schema.columns import check_spelling, corpora
from fervid.schema.csv_tables import read_csv
from fervid.schema.manifest import SPELLINGS, SPLITS
from fervid.schema.names import look_alikes, spelled_as
from fervid.splits.groups import check_val, emotion_of_clips, indivisible_clips, validate_on_subjects

log = logging.getLogger(__name__)


def from_csv(manifest: pd.DataFrame, *, path: str | Path) -> np.ndarray:
    """Reads the split from a CSV.

    Args:
        manifest: one row per frame.
        path: CSV with the column ``split`` (train, val or test, in the usual spellings) and one or more columns of
            the manifest, such as ``path``, ``clip`` or ``subject``. A row applies to the frames that match it in all of
            these columns. For several corpora the column ``corpus`` is required too.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for frames that match no row, shape (N,).

    Raises:
        InputError: if the file cannot be read, lacks columns, contradicts itself, or leaves a subset empty.
    """
    if path is None:
        raise InputError("split=csv needs split.path=<csv>, with the columns split and path, clip or subject.")
    try:
        table = read_csv(Path(path).expanduser()).fillna("")
    except (OSError, ValueError) as error:
        raise InputError(f"split.path={path} cannot be read ({first_line(error)}): give a CSV.") from error
    columns = [column for column in table if column in manifest and column != "split"]
    if "split" not in table or not columns:
        raise InputError(
            f"split.path={path} has the column(s) {', '.join(table.columns)}: it needs split and one or more "
            f"columns of the manifest, such as path, clip or subject ({', '.join(manifest.columns)})."
        )
    if len(corpora(manifest)) > 1 and "corpus" not in columns:
        raise InputError(
            f"split.path={path} does not name the corpus of its rows, and there are "
            f"{', '.join(corpora(manifest))}: add the column corpus."
        )
    check_spelling(table, set(manifest), f"split.path={path}")
    if "path" in columns:
        table["path"] = [spelled_as(name, set(manifest["path"]).__contains__) for name in table["path"]]
    table["split"] = _subsets(table["split"], f"split.path={path}")
    table = table[[*columns, "split"]].drop_duplicates()
    conflicts = table[table.duplicated(columns)]
    if len(conflicts):
        raise InputError(
            f"split.path={path} assigns {_first(conflicts[columns])} to two subsets: keep one of its rows."
        )
    # Numbers, booleans and missing values are compared as the text that a CSV has for them.
    frames = manifest[columns].map(lambda value: "" if pd.isna(value) else str(value))
    _warn_of_look_alikes(path, table, frames)
    matches = frames.merge(table.reset_index(names="row of the file"), on=columns, how="left")
    unmatched = matches["split"].isna().to_numpy()
    unused = table[~table.index.isin(matches["row of the file"])]
    if unmatched.all() and len(table):
        raise InputError(
            f"split.path={path} matches no frame of the corpus: its first row has {_first(table[columns])}, the first "
            f"frame has {_first(frames)}; use the spelling of the corpus."
        )
    if len(unused):
        log.warning(
            "%d row(s) of %s match no frame of the corpus (first: %s).", len(unused), path, _first(unused[columns])
        )
    if unmatched.any():
        log.warning("%d of %d frames match no row of %s and are left out.", unmatched.sum(), len(manifest), path)
    split = np.full(len(manifest), None, dtype=object)
    split[~unmatched] = matches["split"][~unmatched]
    for subset in SPLITS:
        if subset not in split:
            raise InputError(f"split.path={path} leaves {subset} empty: assign frames to every subset.")
    return split


def predefined(manifest: pd.DataFrame, *, val: float, seed: int) -> np.ndarray:
    """Uses the split that the corpus defines, such as folders train, validation and test.

    Args:
        manifest: one row per frame, with the column ``predefined_split``. Frames without a value are left out.
        val: fraction of the training frames to draw for validation if the corpus has no validation subset: whole
            subjects if all are known, otherwise whole clips.
        seed: random seed for that draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for frames left out, shape (N,).

    Raises:
        InputError: if the corpus defines no split, no training or test subset, or has too few frames to validate on.
    """
    if "predefined_split" not in manifest:
        raise InputError("split=predefined needs a corpus with a predefined split: use split=subject.")
    known = manifest["predefined_split"].notna().to_numpy()
    split = np.full(len(manifest), None, dtype=object)
    split[known] = _subsets(manifest.loc[known, "predefined_split"], "predefined_split of the corpus")
    for subset in ("train", "test"):
        if subset not in split:
            raise InputError(f"the corpus has no {subset} subset, which split=predefined needs: use split=subject.")
    if "val" in split:
        return split
    train = manifest[split == "train"]
    if train["subject"].notna().all():
        return validate_on_subjects(manifest, split, val, seed, "predefined")
    from sklearn.model_selection import train_test_split

    check_val(val)
    clip = indivisible_clips(manifest)
    emotions = emotion_of_clips(clip[split == "train"], train["emotion"])
    try:
        _, drawn = train_test_split(emotions.index.to_numpy(), test_size=val, random_state=seed, stratify=emotions)
    except ValueError as error:
        raise InputError(
            f"{len(emotions)} training clips cannot be split into train and val: {first_line(error)}; exclude the "
            "rarest emotion, or raise split.val."
        ) from error
    split[(split == "train") & clip.isin(drawn).to_numpy()] = "val"
    return split


def _subsets(words: pd.Series, source: str) -> np.ndarray:
    """Maps the usual spellings, such as ``Training`` or ``valid``, to train, val and test."""
    subsets = words.str.strip().str.lower().map(SPELLINGS)
    if subsets.isna().any():
        unknown = words[subsets.isna()].iloc[0]
        raise InputError(f"{source} has the subset {unknown!r}: use train, val or test.")
    return subsets.to_numpy(dtype=object)


def _warn_of_look_alikes(path: str | Path, table: pd.DataFrame, frames: pd.DataFrame) -> None:
    """Warns of names in a split file that differ from the names in the corpus only in spaces, case or leading zeros."""
    for column in (name for name in frames if name != "path"):
        known, listed = set(frames[column]), set(table[column])
        for alike in map(set, look_alikes(known | listed)):
            if alike & known and alike - known:
                log.warning(
                    "split.path=%s has the %s %s where the corpus has %s: these are different names, so use the "
                    "spelling of the corpus.",
                    *(path, column, ", ".join(sorted(alike - known)), ", ".join(sorted(alike & known))),
                )


def _first(rows: pd.DataFrame) -> str:
    return ", ".join(f"{column}={value!r}" for column, value in rows.iloc[0].items())
