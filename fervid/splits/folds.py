"""Splits that test on one of several groups of subjects, so that every subject is tested on once."""

from pathlib import Path

import numpy as np
import pandas as pd
from natsort import natsorted
from omegaconf import OmegaConf

from fervid.errors import InputError, first_line
from fervid.schema.columns import corpora, keys
from fervid.splits.groups import check_subjects_known, validate_on_subjects

PUBLISHED_FOLDS = Path(__file__).with_name("published_folds.yaml")


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
    check_subjects_known(manifest, "subject_kfold")
    people = keys(manifest, "subject").to_numpy(dtype=object)
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
        fold: the person to test on, from 0, in the order of their names (2 before 10),
            corpus by corpus.
        val: share of the others' frames to validate on; met as closely as whole people allow.
        seed: of the people to validate on.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown or too few, or there is no such fold.

    Examples:
        >>> import pandas as pd
        >>> manifest = pd.DataFrame({
        ...     "corpus": "mine", "subject": ["Ann", "Ann", "Bob", "Bob", "Cid", "Cid"], "emotion": ["happy", "sad"] * 3
        ... })
        >>> split = loso(manifest, fold=1, val=0.5, seed=42)
        >>> manifest["subject"][split == "test"].unique().tolist()
        ['Bob']
    """
    check_subjects_known(manifest, "loso")
    people = _in_order(keys(manifest, "subject"))
    _check_fold(fold, len(people))
    return _test_on(manifest, {people[fold]}, val, seed, "loso")


def published_folds(manifest: pd.DataFrame, *, folds: str, fold: int, val: float, seed: int) -> np.ndarray:
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
        InputError: if the list or fold is unknown, there are several corpora, or people are unknown, in no
            group, or too few.
    """
    published = dict(OmegaConf.load(PUBLISHED_FOLDS))
    if folds not in published:
        raise InputError(f"split.folds={folds} is not published: choose one of {', '.join(published)}.")
    groups = [set(group) for group in published[folds].folds]
    _check_fold(fold, len(groups))
    if len(corpora(manifest)) > 1:
        raise InputError(
            f"split.folds={folds} lists the subjects of one corpus by number, and there are "
            f"{', '.join(corpora(manifest))}: use split=subject_kfold."
        )
    check_subjects_known(manifest, "published_folds")
    people = _in_order(manifest["subject"])
    strange = [name for name in people if not name.isdecimal() or int(name) not in set().union(*groups)]
    if strange:
        raise InputError(
            f"subject(s) {', '.join(strange)} of the corpus are in no group of split.folds={folds}, which lists people "
            "by number: leave them out (dataset.subjects), or use split=subject_kfold."
        )
    return _test_on(manifest, {name for name in people if int(name) in groups[fold]}, val, seed, "published_folds")


def _test_on(manifest: pd.DataFrame, people: set[str], val: float, seed: int, name: str) -> np.ndarray:
    """Tests on these people and validates on some of the others."""
    if not people:
        raise InputError(f"split={name} finds nobody of the corpus in this group: choose another split.fold.")
    split = np.where(keys(manifest, "subject").isin(people), "test", "train").astype(object)
    return validate_on_subjects(manifest, split, val, seed, name)


def _in_order(names: pd.Series) -> list[str]:
    """Each name once; numbers in names are sorted by value: ``2`` before ``10``."""
    return natsorted(sorted(names.unique()))  # sorted first: 1 and 01 have the same value


def _check_fold(fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        raise InputError(f"split.fold={fold} is out of range: give 0 to {folds - 1}.")
