"""Splits by name: each takes a manifest and says for every frame whether it is trained, validated or tested on.

A frame that a split has no use for (:func:`counts`, :func:`file`, :func:`given`) is None: it is to be left out.

Which of them is honest is not a matter of its name: :func:`fervid.audit.leakage.audit` looks at what leaks.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fervid.schema.columns import check_spelling
from fervid.schema.csv_tables import read_csv
from fervid.schema.errors import InputError, first_line
from fervid.schema.manifest import SPLITS
from fervid.schema.names import look_alikes, spelled_as

log = logging.getLogger(__name__)

DRAWS = 200  # of people, of which the one is taken that shares out the emotions best
PUBLISHED_FOLDS = Path(__file__).with_name("published_folds.yaml")
SPELLINGS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}


def random_frames(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Draws single frames at random, as most published notebooks do; frames of one clip land on all sides: it leaks.

    Args:
        manifest: one row a frame.
        val: share of all frames to validate on, between 0 and 1.
        test: share of all frames to test on, between 0 and 1.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).
    """
    return _draw(manifest["emotion"].to_numpy(), val, test, seed, stratify=False, what="frames")


def stratified(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Draws single frames at random with the same share of every emotion on each side (arguments: random_frames).

    scikit-learn's ``train_test_split`` first parts train from the rest, then val from test, with the same seed: at
    0.2, 0.2 and seed 42 these are the rows of the Hugging Face faces paper.
    """
    return _draw(manifest["emotion"].to_numpy(), val, test, seed, stratify=True, what="frames")


def counts(manifest: pd.DataFrame, *, counts: Mapping[str, Sequence[int]], seed: int) -> np.ndarray:
    """Draws exact numbers of single frames of each emotion at random, as the ISED paper's table; it leaks.

    Args:
        manifest: one row a frame.
        counts: for each emotion of the corpus its frames to train, validate and test on.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those left over, shape (N,).

    Raises:
        InputError: if an emotion is not in both the corpus and ``counts``, a number is none, a side is empty, or
            there are too few frames.
    """
    for emotion, numbers in counts.items():
        threefold = isinstance(numbers, Sequence) and len(numbers) == 3
        if not threefold or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise InputError(
                f"split.counts.{emotion}={numbers} is not [train, val, test]: give three whole numbers of frames."
            )
    for position, side in enumerate(SPLITS):
        if not any(numbers[position] for numbers in counts.values()):
            raise InputError(f"split.counts={dict(counts)} puts no frame on the {side} side: every side needs some.")
    found = manifest["emotion"].value_counts()
    strange, unnamed = sorted(set(counts) - set(found.index)), sorted(set(found.index) - set(counts))
    if strange or unnamed:
        wrong = [f"names {', '.join(strange)}, which the corpus does not hold"] if strange else []
        wrong += [f"does not name {', '.join(unnamed)}, which the corpus holds"] if unnamed else []
        raise InputError(
            f"split.counts {' and '.join(wrong)}: give exactly {', '.join(sorted(found.index))}, or leave emotions out "
            "of the corpus."
        )
    short = [
        f"{sum(numbers)} frames of {emotion}, found {found[emotion]}"
        for emotion, numbers in counts.items()
        if sum(numbers) > found[emotion]
    ]
    if short:
        raise InputError(
            f"split.counts needs {'; '.join(short)}: take more frames of each clip (a smaller dataset.every), or give "
            "smaller numbers."
        )
    split = np.full(len(manifest), None, dtype=object)
    rng = np.random.default_rng(seed)
    for emotion in sorted(counts):
        rows = rng.permutation(np.flatnonzero(manifest["emotion"] == emotion))
        for side, number in zip(SPLITS, counts[emotion], strict=True):
            split[rows[:number]], rows = side, rows[number:]
    return split


def clips(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Keeps all frames of a clip on one side, with the same share of every emotion; people are on all of them.

    Args:
        manifest: one row a frame; the emotion of a clip is that of most of its frames. With a column ``group`` all
            clips of a group count as one.
        val: share of the clips to validate on, between 0 and 1.
        test: share of the clips to test on, between 0 and 1.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if an emotion has too few clips.
    """
    clip = _clip_or_group(manifest)
    emotions = _emotion_of_clips(manifest.assign(clip=clip))
    sides = _draw(emotions.to_numpy(), val, test, seed, stratify=True, what="clips")
    return clip.map(pd.Series(sides, index=emotions.index)).to_numpy(dtype=object)


def subject(manifest: pd.DataFrame, *, val: float, test: float, seed: int) -> np.ndarray:
    """Keeps all frames of a person on one side, emotions shared out as evenly as whole people allow.

    Args:
        manifest: one row a frame, with its subject.
        val: share of the frames to validate on; met as closely as whole people allow.
        test: share of the frames to test on, likewise.
        seed: of the draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown, or too few to part.
    """
    _check_shares(val, test)
    _check_people_known(manifest, "subject")
    table = pd.crosstab(manifest["subject"], manifest["emotion"])
    side = pd.Series("train", index=table.index)
    for name, share in (("test", test), ("val", val / (1 - test))):
        rest = table[side == "train"]
        if len(rest) < 2:
            raise InputError(f"split=subject cannot part {len(table)} people into three sides: at least 3 are needed.")
        side[_draw_people(rest, share, seed)] = name
    return manifest["subject"].map(side).to_numpy(dtype=object)


def subject_kfold(manifest: pd.DataFrame, *, k: int, fold: int, val: float, seed: int) -> np.ndarray:
    """Tests on one of k groups of people, which scikit-learn's ``StratifiedGroupKFold`` makes alike in emotions.

    Args:
        manifest: one row a frame, with its subject.
        k: how many groups; they are the same for every ``fold``.
        fold: the group to test on, from 0.
        val: share of the frames of the other groups to validate on; met as closely as whole people allow.
        seed: of the groups and of the people to validate on.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown or too few, or an option is out of range.
    """
    _check_people_known(manifest, "subject_kfold")
    people = manifest["subject"].to_numpy(dtype=object)
    if not 2 <= k <= len(set(people)):
        raise InputError(f"split.k={k} is out of range: give 2 to {len(set(people))}, the number of people.")
    _check_fold(fold, k)
    from sklearn.model_selection import StratifiedGroupKFold  # not at the top: the default split needs no scikit-learn

    folds = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    try:
        parts = list(folds.split(people, manifest["emotion"].to_numpy(dtype=object), people))
    except ValueError as error:
        raise InputError(
            f"{len(manifest)} frames cannot be parted into split.k={k} groups: {first_line(error)}; give a smaller k."
        ) from error
    return _test_on(manifest, set(people[parts[fold][1]]), val, seed, "subject_kfold")


def loso(manifest: pd.DataFrame, *, fold: int, val: float, seed: int) -> np.ndarray:
    """Leaves one subject out to test on: ``-m split=loso split.fold=range(24)`` tests on each of 24 once.

    Args:
        manifest: one row a frame, with its subject.
        fold: the person to test on, from 0, in the order of their names (2 before 10).
        val: share of the others' frames to validate on; met as closely as whole people allow.
        seed: of the people to validate on.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown or too few, or there is no such fold.
    """
    _check_people_known(manifest, "loso")
    people = sorted(manifest["subject"].unique(), key=_natural)
    _check_fold(fold, len(people))
    return _test_on(manifest, {people[fold]}, val, seed, "loso")


def fixed(manifest: pd.DataFrame, *, folds: str, fold: int, val: float, seed: int) -> np.ndarray:
    """Tests on one of the groups of people that others published numbers for (``published_folds.yaml``).

    Args:
        manifest: one row a frame, with its subject, which is a number.
        folds: ``ravdess_5``, ``ravdess_6`` or ``enterface_5``.
        fold: the group to test on, from 0.
        val: share of the other groups' frames to validate on; met as closely as whole people allow.
        seed: of the people to validate on.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if the list or fold is unknown, or people are unknown, in no group, or too few.
    """
    published = dict(OmegaConf.load(PUBLISHED_FOLDS))
    if folds not in published:
        raise InputError(f"split.folds={folds} is not published: choose one of {', '.join(published)}.")
    groups = [set(group) for group in published[folds].folds]
    _check_fold(fold, len(groups))
    _check_people_known(manifest, "fixed")
    people = sorted(manifest["subject"].unique(), key=_natural)
    strange = [name for name in people if not name.isdecimal() or int(name) not in set().union(*groups)]
    if strange:
        raise InputError(
            f"subject(s) {', '.join(strange)} of the corpus are in no group of split.folds={folds}, which lists people "
            "by number: leave them out (dataset.subjects, dataset.actors), or use split=subject_kfold."
        )
    return _test_on(manifest, {name for name in people if int(name) in groups[fold]}, val, seed, "fixed")


def file(manifest: pd.DataFrame, *, path: str | Path) -> np.ndarray:
    """Takes the sides from a CSV of one's own.

    Args:
        manifest: one row a frame.
        path: CSV with the column ``split`` (train, val or test, in the usual spellings) and one or more columns of
            the manifest, such as ``path``, ``clip`` or ``subject``: a row is about the frames that are alike in all.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those the file does not name, shape (N,).

    Raises:
        InputError: if the file cannot be read, lacks columns, contradicts itself, or leaves a side empty.
    """
    if path is None:
        raise InputError("split=file needs split.path=<csv>: one with the columns split and path, clip or subject.")
    try:
        table = read_csv(Path(path).expanduser()).fillna("")
    except (OSError, ValueError) as error:
        raise InputError(f"split.path={path} cannot be read ({first_line(error)}): give a CSV.") from error
    keys = [column for column in table if column in manifest and column != "split"]
    if "split" not in table or not keys:
        raise InputError(
            f"split.path={path} has the column(s) {', '.join(table.columns)}: it needs split and one or more of those "
            f"of the corpus, such as path, clip or subject ({', '.join(manifest.columns)})."
        )
    check_spelling(table, set(manifest), f"split.path={path}")
    if "path" in keys:
        table["path"] = [spelled_as(name, set(manifest["path"]).__contains__) for name in table["path"]]
    table["split"] = _sides(table["split"], f"split.path={path}")
    table = table[[*keys, "split"]].drop_duplicates()
    twice = table[table.duplicated(keys)]
    if len(twice):
        raise InputError(f"split.path={path} puts {_first(twice[keys])} on two sides: leave one of its rows.")
    # A number, a truth value or nothing at all is compared as it stands in a file.
    frames = manifest[keys].map(lambda value: "" if pd.isna(value) else str(value))
    _name_look_alikes(path, table, frames)
    named = frames.merge(table.reset_index(names="row of the file"), on=keys, how="left")
    unnamed = named["split"].isna().to_numpy()
    idle = table[~table.index.isin(named["row of the file"])]
    if unnamed.all() and len(table):
        raise InputError(
            f"split.path={path} names no frame of the corpus: it says {_first(table[keys])}, where the corpus says "
            f"{_first(frames)}; write both alike."
        )
    if len(idle):
        log.warning("%d row(s) of %s name no frame of the corpus (first: %s).", len(idle), path, _first(idle[keys]))
    if unnamed.any():
        log.warning("%d of %d frames are not named in %s and are left out.", unnamed.sum(), len(manifest), path)
    split = np.full(len(manifest), None, dtype=object)
    split[~unnamed] = named["split"][~unnamed]
    for side in SPLITS:
        if side not in split:
            raise InputError(f"split.path={path} puts no frame on the {side} side: every side needs some.")
    return split


def given(manifest: pd.DataFrame, *, val: float, seed: int) -> np.ndarray:
    """Takes the sides that the corpus came with, such as folders train, validation and test.

    Args:
        manifest: one row a frame, with its ``given_split``; where that is missing the frame is left out.
        val: where the corpus has no side to validate on, the share of its training frames to draw for it: whole
            people where all are known, else whole clips.
        seed: of that draw.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, None for those without a side, shape (N,).

    Raises:
        InputError: if the corpus has no sides, none to train or none to test on, or too little to validate on.
    """
    if "given_split" not in manifest:
        raise InputError("split=given needs a corpus that comes with sides, and this one does not: use split=subject.")
    known = manifest["given_split"].notna().to_numpy()
    split = np.full(len(manifest), None, dtype=object)
    split[known] = _sides(manifest.loc[known, "given_split"], "given_split of the corpus")
    for side in ("train", "test"):
        if side not in split:
            raise InputError(f"the corpus came without a {side} side, which split=given needs: use split=subject.")
    if "val" in split:
        return split
    train = manifest[split == "train"]
    if train["subject"].notna().all():
        return _validate_people(manifest, split, val, seed, "given")
    from sklearn.model_selection import train_test_split

    _check_val(val)
    clip = _clip_or_group(manifest)
    emotions = _emotion_of_clips(train.assign(clip=clip))
    try:
        _, drawn = train_test_split(emotions.index.to_numpy(), test_size=val, random_state=seed, stratify=emotions)
    except ValueError as error:
        raise InputError(
            f"{len(emotions)} clips to train on cannot be shared with validation: {first_line(error)}; leave the "
            "rarest emotion out, or raise split.val."
        ) from error
    split[(split == "train") & clip.isin(drawn).to_numpy()] = "val"
    return split


def _draw_people(table: pd.DataFrame, share: float, seed: int) -> pd.Index:
    """Of a table of subject x emotion, the people that come nearest to a share of every emotion."""
    least = 1 / len(table)
    held = math.ceil(min(max(share, least), 1 - least) * len(table))
    # As scikit-learn's ShuffleSplit draws, without the quarter of a second that it takes to be imported.
    random = np.random.RandomState(seed)
    drawn = [random.permutation(len(table))[:held] for _ in range(DRAWS)]
    # Whole people never give every emotion exactly its share: the draw that comes nearest is taken.
    counts = table.to_numpy()
    counts = counts[:, counts.any(axis=0)]  # those who show an emotion may all be taken already
    off = [float(np.abs(counts[taken].sum(axis=0) / counts.sum(axis=0) - share).sum()) for taken in drawn]
    return table.index[drawn[int(np.argmin(off))]]


def _test_on(manifest: pd.DataFrame, people: set[str], val: float, seed: int, name: str) -> np.ndarray:
    """Tests on these people and validates on some of the others."""
    if not people:
        raise InputError(f"split={name} finds nobody of the corpus in this group: choose another split.fold.")
    split = np.where(manifest["subject"].isin(people), "test", "train").astype(object)
    return _validate_people(manifest, split, val, seed, name)


def _validate_people(manifest: pd.DataFrame, split: np.ndarray, val: float, seed: int, name: str) -> np.ndarray:
    """Moves people from the training to the validation side."""
    _check_val(val)
    train = manifest[split == "train"]
    table = pd.crosstab(train["subject"], train["emotion"])
    if len(table) < 2:
        raise InputError(
            f"split={name} leaves {len(table)} people to both train and validate on: at least 2 are needed, so add "
            "people, or use split=clips."
        )
    split[(split == "train") & manifest["subject"].isin(_draw_people(table, val, seed)).to_numpy()] = "val"
    return split


def _draw(emotions: np.ndarray, val: float, test: float, seed: int, *, stratify: bool, what: str) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    _check_shares(val, test)
    rows = np.arange(len(emotions))
    split = np.full(len(emotions), "train", dtype=object)
    try:
        _, held_out = train_test_split(
            rows, test_size=val + test, random_state=seed, stratify=emotions if stratify else None
        )
        val_rows, test_rows = train_test_split(
            held_out,
            test_size=test / (val + test),
            random_state=seed,
            stratify=emotions[held_out] if stratify else None,
        )
    except ValueError as error:
        rare, number = min(zip(*np.unique(emotions, return_counts=True), strict=True), key=lambda pair: pair[1])
        raise InputError(
            f"{len(emotions)} {what} cannot be split ({first_line(error)}): the rarest emotion, {rare}, has {number}; "
            "add some, leave it out, or raise split.val and split.test."
        ) from error
    split[val_rows], split[test_rows] = "val", "test"
    return split


def _clip_or_group(manifest: pd.DataFrame) -> pd.Series:
    """What has to stay together: clips, or groups of clips that look the same where they are known."""
    return manifest["group"] if "group" in manifest else manifest["clip"]


def _emotion_of_clips(manifest: pd.DataFrame) -> pd.Series:
    """The emotion of most frames of each clip."""
    return pd.crosstab(manifest["clip"], manifest["emotion"]).idxmax(axis=1)


def _natural(name: str) -> tuple[list[int | str], str]:
    """Sorts numbers in names by value: ``2`` before ``10``."""
    words = re.split(r"(\d+)", name)
    return [int(word) if number % 2 else word for number, word in enumerate(words)], name


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


def _check_people_known(manifest: pd.DataFrame, name: str) -> None:
    unknown = int(manifest["subject"].isna().sum())
    if unknown:
        raise InputError(
            f"split={name} needs to know who is seen, but {unknown} of {len(manifest)} frames have no subject: "
            "give dataset.subject_pattern (a regular expression on the file name), or use split=stratified."
        )


def _check_fold(fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        raise InputError(f"split.fold={fold} is out of range: give 0 to {folds - 1}.")


def _check_val(val: float) -> None:
    if not 0 < val < 1:
        raise InputError(f"split.val={val} leaves nothing to train or to validate on: it must lie between 0 and 1.")


def _check_shares(val: float, test: float) -> None:
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise InputError(
            f"split.val={val} and split.test={test} leave nothing to train on or nothing to measure: both must lie "
            "between 0 and 1 and sum to less than 1."
        )
