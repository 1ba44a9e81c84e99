"""Splits of several corpora, in which different subjects or clips may have the same name."""

import numpy as np
import pandas as pd
import pytest

from fervid import splits
from fervid.errors import InputError
from fervid.schema.columns import keys


def corpus(name="ravdess", seed=3):
    """12 subjects, named by number, with 1 to 3 clips of 1 to 3 frames in each of 3 emotions."""
    rng = np.random.default_rng(seed)
    rows = []
    for subject in range(1, 13):
        for emotion in ("happy", "sad", "angry"):
            for take in range(int(rng.integers(1, 4))):
                clip = {"corpus": name, "subject": str(subject), "clip": f"{subject}-{emotion}-{take}"}
                rows += [{**clip, "frame": frame, "emotion": emotion} for frame in range(int(rng.integers(1, 4)))]
    return pd.DataFrame(rows)


def drawn(manifest, split, column="subject", subset="test"):
    names = manifest.loc[split == subset, column].unique()
    return " ".join(sorted(names, key=lambda name: (len(name), name)))


@pytest.mark.parametrize(
    ("rule", "options", "column", "val", "test"),
    [
        ("subject", {"val": 0.2, "test": 0.2, "seed": 42}, "subject", "2 6 8", "1 5 9"),
        ("subject", {"val": 0.25, "test": 0.25, "seed": 7}, "subject", "4 7 12", "5 8 11"),
        ("subject_kfold", {"k": 3, "fold": 0, "val": 0.25, "seed": 5}, "subject", "4 11", "2 5 6 12"),
        ("subject_kfold", {"k": 3, "fold": 2, "val": 0.25, "seed": 5}, "subject", "4 6", "1 3 8 11"),
        ("loso", {"fold": 0, "val": 0.2, "seed": 1}, "subject", "2 5 9", "1"),
        ("loso", {"fold": 9, "val": 0.2, "seed": 1}, "subject", "2 6 9", "10"),
        ("published_folds", {"folds": "ravdess_5", "fold": 0, "val": 0.2, "seed": 1}, "subject", "3 12", "2 5"),
        ("predefined", {"val": 0.2, "seed": 3}, "subject", "6 8", "3 4"),
        (
            *("clips", {"val": 0.1, "test": 0.1, "seed": 42}, "clip"),
            "5-sad-0 8-sad-1 4-angry-0 4-happy-1 5-happy-0 7-angry-0 11-angry-2",
            "9-sad-0 10-sad-0 2-happy-0 3-happy-1 5-happy-1 7-angry-1 11-angry-1 12-angry-2",
        ),
    ],
)
def test_splits_of_one_corpus_are_stable(rule, options, column, val, test):
    manifest = corpus()
    manifest["predefined_split"] = np.where(manifest["subject"].isin(["3", "4"]), "test", "train")
    split = getattr(splits, rule)(manifest, **options)
    assert (drawn(manifest, split, column, "val"), drawn(manifest, split, column)) == (val, test)
    assert (getattr(splits, rule)(manifest.drop(columns="corpus"), **options) == split).all()


def test_clip_splits_of_unknown_subjects_are_stable():
    manifest = corpus()
    manifest["predefined_split"] = np.where(manifest["subject"].isin(["3", "4"]), "test", "train")
    split = splits.predefined(manifest.assign(subject=None), val=0.1, seed=3)
    expected = "8-sad-1 11-sad-0 10-angry-0 10-happy-2 12-angry-0 12-angry-2 12-happy-1"
    assert drawn(manifest, split, "clip", "val") == expected


def test_frame_splits_are_stable():
    manifest, shares = corpus(), {"val": 0.05, "test": 0.05, "seed": 42}
    counts = {emotion: [20, 2, 2] for emotion in ("happy", "sad", "angry")}
    tested = [
        np.flatnonzero(split == "test").tolist()
        for split in (
            splits.random_frames(manifest, **shares),
            splits.stratified(manifest, **shares),
            splits.counts(manifest, counts=counts, seed=4),
        )
    ]
    assert tested == [
        [12, 18, 19, 66, 77, 81, 115, 131],
        [1, 3, 19, 27, 115, 125, 133, 135],
        [30, 40, 58, 59, 118, 127],
    ]


@pytest.fixture
def two():
    """Two corpora whose subjects and clips have the same names."""
    return pd.concat([corpus("one"), corpus("other", seed=4)], ignore_index=True)


def test_keys_of_several_corpora_include_the_corpus(two):
    assert keys(two, "subject").nunique() == 24
    assert set(keys(two, "clip")) >= {"one/1-happy-0", "other/1-happy-0"}
    assert keys(corpus(), "subject").tolist() == corpus()["subject"].tolist()
    unknown = two.assign(subject=two["subject"].where(two["corpus"] == "one"))
    assert keys(unknown, "subject").isna().tolist() == (two["corpus"] == "other").tolist()


@pytest.mark.parametrize(
    ("rule", "options", "column"),
    [
        ("subject", {"val": 0.25, "test": 0.25, "seed": 0}, "subject"),
        ("subject_kfold", {"k": 3, "fold": 1, "val": 0.25, "seed": 0}, "subject"),
        ("predefined", {"val": 0.3, "seed": 0}, "subject"),
        ("clips", {"val": 0.25, "test": 0.25, "seed": 0}, "clip"),
    ],
)
def test_same_names_in_two_corpora_are_split_separately(two, rule, options, column):
    two["predefined_split"] = np.where(two["subject"].isin(["3", "4"]) & (two["corpus"] == "one"), "test", "train")
    split = pd.Series(getattr(splits, rule)(two, **options))
    assert (split.groupby(keys(two, column)).nunique() == 1).all()
    assert (split.groupby(two[column]).nunique() > 1).any()  # by their names alone they would stay together


def test_loso_leaves_out_every_subject_of_every_corpus_once(two):
    tested = []
    for fold in range(24):
        split = splits.loso(two, fold=fold, val=0.2, seed=0)
        tested += keys(two, "subject")[split == "test"].unique().tolist()
    assert tested == [f"{name}/{number}" for name in ("one", "other") for number in range(1, 13)]
    with pytest.raises(InputError, match=r"give 0 to 23"):
        splits.loso(two, fold=24, val=0.2, seed=0)


def test_clips_of_unknown_subjects_are_split_by_corpus(two):
    two["predefined_split"] = np.where(two["subject"] == "3", "test", "train")
    split = pd.Series(splits.predefined(two.assign(subject=None), val=0.3, seed=0))
    assert (split.groupby(keys(two, "clip")).nunique() == 1).all()
    assert (split.groupby(two["clip"]).nunique() > 1).any()


def test_published_folds_need_a_single_corpus(two):
    with pytest.raises(InputError, match="one corpus by number, but there are one, other"):
        splits.published_folds(two, folds="ravdess_5", fold=0, val=0.2, seed=0)


def test_csv_needs_the_corpus_of_each_row(two, tmp_path):
    path = tmp_path / "own.csv"
    subsets = {"1": "test", "2": "val"}
    rows = two.drop_duplicates(["corpus", "subject"])
    rows = rows.assign(split=rows["subject"].map(subsets).where(rows["corpus"] == "one", "train").fillna("train"))
    rows[["subject", "split"]].query("subject > '2'").to_csv(path, index=False)
    with pytest.raises(InputError, match="there are one, other: add the column corpus"):
        splits.from_csv(two, path=path)
    rows[["corpus", "subject", "split"]].to_csv(path, index=False)
    split = splits.from_csv(two, path=path)
    assert set(keys(two, "subject")[split == "test"]) == {"one/1"}
    assert set(keys(two, "subject")[split == "val"]) == {"one/2"}
