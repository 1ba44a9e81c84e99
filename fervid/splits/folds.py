"""Cross-validation over subjects: every subject is in the test subset of exactly one fold."""

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
    """Splits subjects into k folds with scikit-learn's ``StratifiedGroupKFold`` and tests on one of them.

    Args:
        manifest: one row per frame, with its subject.
        k: number of folds. The folds do not depend on ``fold``.
        fold: index of the test fold, from 0.
        val: fraction of the remaining frames for validation; approximate, since subjects are not divided.
        seed: random seed for the folds and for the validation subjects.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown or too few, or an option is out of range.
    """
    check_subjects_known(manifest, "subject_kfold")
    subjects = keys(manifest, "subject").to_numpy(dtype=object)
    if not 2 <= k <= len(set(subjects)):
        raise InputError(f"split.k={k} is out of range: give 2 to {len(set(subjects))}, the number of subjects.")
    _check_fold(fold, k)
    from sklearn.model_selection import StratifiedGroupKFold  # imported here: the default split does not need it

    folds = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    try:
        parts = list(folds.split(subjects, manifest["emotion"].to_numpy(dtype=object), subjects))
    except ValueError as error:
        raise InputError(
            f"{len(manifest)} frames cannot be split into split.k={k} folds: {first_line(error)}; give a smaller k."
        ) from error
    return _test_on(manifest, set(subjects[parts[fold][1]]), val, seed, "subject_kfold")


def loso(manifest: pd.DataFrame, *, fold: int, val: float, seed: int) -> np.ndarray:
    """Leaves one subject out for testing.

    ``-m split=loso split.fold=range(24)`` tests on each of 24 subjects in turn.

    Args:
        manifest: one row per frame, with its subject.
        fold: index of the test subject, from 0. Subjects are sorted by corpus, then by name, with numbers by value (2
            before 10).
        val: fraction of the remaining frames for validation; approximate, since subjects are not divided.
        seed: random seed for the validation subjects.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if subjects are unknown or too few, or ``fold`` is out of range.

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
    subjects = _sorted_names(keys(manifest, "subject"))
    _check_fold(fold, len(subjects))
    return _test_on(manifest, {subjects[fold]}, val, seed, "loso")


def published_folds(manifest: pd.DataFrame, *, folds: str, fold: int, val: float, seed: int) -> np.ndarray:
    """Tests on one of the subject folds used in published results (``published_folds.yaml``).

    Args:
        manifest: one row per frame, with its subject, which must be a number.
        folds: name of the fold list: ``ravdess_5``, ``ravdess_6`` or ``enterface_5``.
        fold: index of the test fold, from 0.
        val: fraction of the remaining frames for validation; approximate, since subjects are not divided.
        seed: random seed for the validation subjects.

    Returns:
        ``train``, ``val`` or ``test`` for each of the N rows, shape (N,).

    Raises:
        InputError: if the fold list or the fold is unknown, the manifest has several corpora, or subjects are unknown,
            in no fold, or too few.
    """
    published = dict(OmegaConf.load(PUBLISHED_FOLDS))
    if folds not in published:
        raise InputError(f"split.folds={folds} is unknown: choose one of {', '.join(published)}.")
    groups = [set(group) for group in published[folds].folds]
    _check_fold(fold, len(groups))
    if len(corpora(manifest)) > 1:
        raise InputError(
            f"split.folds={folds} lists the subjects of one corpus by number, but there are "
            f"{', '.join(corpora(manifest))}: use split=subject_kfold."
        )
    check_subjects_known(manifest, "published_folds")
    subjects = _sorted_names(manifest["subject"])
    unknown = [name for name in subjects if not name.isdecimal() or int(name) not in set().union(*groups)]
    if unknown:
        raise InputError(
            f"subject(s) {', '.join(unknown)} of the corpus are in no fold of split.folds={folds}, which lists "
            "subjects by number: exclude them (dataset.subjects), or use split=subject_kfold."
        )
    return _test_on(manifest, {name for name in subjects if int(name) in groups[fold]}, val, seed, "published_folds")


def _test_on(manifest: pd.DataFrame, subjects: set[str], val: float, seed: int, name: str) -> np.ndarray:
    """Tests on the given subjects and validates on some of the others."""
    if not subjects:
        raise InputError(f"split={name} finds no subject of the corpus in this fold: choose another split.fold.")
    split = np.where(keys(manifest, "subject").isin(subjects), "test", "train").astype(object)
    return validate_on_subjects(manifest, split, val, seed, name)


def _sorted_names(names: pd.Series) -> list[str]:
    """Returns the unique names, with numbers in them sorted by value: ``2`` before ``10``."""
    return natsorted(sorted(names.unique()))  # sorted first: 1 and 01 have the same value


def _check_fold(fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        raise InputError(f"split.fold={fold} is out of range: give 0 to {folds - 1}.")
