"""``split=leave_corpus_out`` tests on corpora that were left out of training, ``each_corpus`` on a part of each."""

import numpy as np
import pandas as pd
import pytest

from fervid import splits
from fervid.errors import InputError


def corpus(name, subjects=10, *, known=True):
    rows = [
        {"corpus": name, "subject": f"s{n}" if known else None, "clip": f"{n}{e}", "frame": frame, "emotion": e}
        for n in range(subjects)
        for e in ("happy", "sad")
        for frame in range(2)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def three():
    return pd.concat([corpus("a"), corpus("b"), corpus("c", known=False)], ignore_index=True)


def subsets(manifest, **options):
    split = splits.leave_corpus_out(manifest, **{"val": 0.2, "seed": 0, **options})
    return manifest.assign(split=split)


def test_every_training_corpus_is_divided_by_subject_or_clip(three):
    table = subsets(three, corpus="b")
    counts = pd.crosstab(table["corpus"], table["split"])
    assert counts.loc["b"].to_dict() == {"test": 40, "train": 0, "val": 0}
    for name in ("a", "c"):
        assert counts.loc[name].to_dict() == {"test": 0, "train": 32, "val": 8}
    known = table[table["corpus"] == "a"]
    assert (known.groupby("subject")["split"].nunique() == 1).all()
    unknown = table[table["corpus"] == "c"]
    assert (unknown.groupby("clip")["split"].nunique() == 1).all()
    assert unknown[unknown["split"] == "val"]["emotion"].value_counts().to_dict() == {"happy": 4, "sad": 4}


def test_only_the_given_corpora_are_trained_on(three):
    table = subsets(three, corpus=["b"], train="a")
    assert table[table["corpus"] == "c"]["split"].isna().all()
    assert set(table[table["corpus"] == "a"]["split"]) == {"train", "val"}
    assert subsets(three, corpus=["b", "c"])["split"].value_counts().to_dict() == {"test": 80, "train": 32, "val": 8}


def test_groups_of_near_duplicates_are_not_divided(three):
    group = np.where(three["corpus"] == "c", three["clip"].str[:1], three["corpus"] + three["clip"])
    table = subsets(three.assign(group=group), corpus="a")
    unknown = table[table["corpus"] == "c"]
    assert (unknown.groupby("group")["split"].nunique() == 1).all()


def test_validation_depends_on_the_seed(three):
    drawn = [subsets(three, corpus="a", seed=seed)["split"].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": None}, "the one to test on: give dataset=several and split.corpus=<one of a, b, c>"),
        ({"corpus": "d"}, "has no corpus 'd': choose among a, b, c"),
        ({"corpus": "a", "train": ["d"]}, "split.train=.* has no corpus 'd'"),
        ({"corpus": "a", "train": ["a", "b"]}, "both have a"),
        ({"corpus": ["a", "b", "c"]}, "leaves no corpus for training"),
        ({"corpus": "a", "val": 0}, "split.val=0"),
    ],
)
def test_mistakes_are_explained(three, options, message):
    with pytest.raises(InputError, match=message):
        subsets(three, **options)


def test_a_single_corpus_or_subject_cannot_be_divided(three):
    with pytest.raises(InputError, match="needs several corpora"):
        subsets(corpus("a"), corpus="a")
    with pytest.raises(InputError, match="cannot divide d into val and train: 1 subject"):
        subsets(pd.concat([three, corpus("d", 1)], ignore_index=True), corpus="a")


def test_each_corpus_is_divided_and_tests_do_not_depend_on_training(three):
    def divided(**options):
        return splits.each_corpus(three, **{"val": 0.2, "test": 0.2, "seed": 0, **options})

    table = three.assign(split=divided())
    counts = pd.crosstab(table["corpus"], table["split"])
    assert (counts == [8, 24, 8]).all(axis=None)
    assert (table[table["corpus"] != "c"].groupby(["corpus", "subject"])["split"].nunique() == 1).all()
    assert (table.groupby(["corpus", "clip"])["split"].nunique() == 1).all()
    one = divided(train="a")
    assert ((one == "test") == (table["split"] == "test")).all()
    assert set(one[three["corpus"] != "a"]) == {"test", None}
    assert (one[three["corpus"] == "a"] == table["split"][three["corpus"] == "a"]).all()
    with pytest.raises(InputError, match=r"split\.train=d has no corpus 'd'"):
        divided(train="d")
    with pytest.raises(InputError, match="leave a subset empty"):
        divided(test=0.9)
    with pytest.raises(InputError, match="cannot divide e into val and train"):
        splits.each_corpus(pd.concat([three, corpus("e", 2)], ignore_index=True), val=0.2, test=0.2, seed=0)
