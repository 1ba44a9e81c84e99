"""Labels of several corpora are mapped to common names."""

import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.schema.label_maps import LabelMap
from fervid.schema.votes import distributions


def corpus(name, *labels, **columns):
    return pd.DataFrame({"corpus": name, "emotion": labels, **columns})


@pytest.fixture
def two():
    return [corpus("one", "happiness", "sadness", "calm", "calm"), corpus("two", "Happy", "Neutral", "contempt")]


def test_labels_that_are_not_shared_are_dropped_and_reported(two):
    tables, report = LabelMap({"calm": "neutral"}).align(two)
    assert [table["emotion"].tolist() for table in tables] == [["happy", "neutral", "neutral"], ["happy", "neutral"]]
    assert report.to_numpy().tolist() == [
        ["one", "calm", "neutral", 2, ""],
        ["one", "happiness", "happy", 1, ""],
        ["one", "sadness", None, 1, "not in all corpora"],
        ["two", "Happy", "happy", 1, ""],
        ["two", "Neutral", "neutral", 1, ""],
        ["two", "contempt", None, 1, "not in all corpora"],
    ]


def test_labels_can_be_kept(two):
    tables, _ = LabelMap(not_shared="keep").align(two)
    assert tables[0]["emotion"].tolist() == ["happy", "sad", "calm", "calm"]
    assert tables[1]["emotion"].tolist() == ["happy", "neutral", "contempt"]


def test_a_map_of_one_corpus_comes_first_and_null_drops(two):
    declared = {"calm": "neutral", "one": {"calm": None, "sadness": "neutral"}}
    tables, report = LabelMap(declared).align(two)
    assert tables[0]["emotion"].tolist() == ["happy", "neutral"]
    assert report["reason"].tolist()[0] == "label_map"


def test_only_the_given_emotions_are_used(two):
    tables, report = LabelMap({"calm": "neutral"}, ["happiness", "contempt", "sad"], "keep").align(two)
    assert [table["emotion"].tolist() for table in tables] == [["happy", "sad"], ["happy", "contempt"]]
    assert report.loc[report["label"] == "calm", "reason"].item() == "not in emotions"


def test_votes_follow_their_labels():
    voted = corpus("one", "happiness", "sadness", votes_happiness=[8, 0], votes_sadness=[2, 6], votes_contempt=[0, 4])
    tables, _ = LabelMap().align([voted, corpus("two", "happy", "sad")])
    names = ["happy", "sad"]
    assert tables[0].filter(like="votes_").columns.tolist() == ["votes_happy", "votes_sad", "votes_contempt"]
    joined = pd.concat(tables, ignore_index=True)
    assert distributions(joined.assign(clip="x"), names).round(2).tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_votes_for_a_dropped_label_do_not_count_for_its_name():
    """Fear counts as sad, and sad is dropped."""
    voted = corpus("one", "fear", "happy", "sad", votes_fear=[9, 0, 0], votes_sad=[1, 0, 9], votes_happy=[0, 9, 1])
    tables, _ = LabelMap({"one": {"fear": "sad", "sad": None}}).align([voted, corpus("two", "happy", "sad")])
    assert tables[0]["emotion"].tolist() == ["sad", "happy"]
    assert tables[0][["votes_sad", "votes_sad_dropped"]].to_numpy().tolist() == [[9, 1], [0, 0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"declared": {"fun": "happy"}}, "has 'fun', which is no label of one and two: choose among calm, contempt"),
        ({"declared": {"two": {"calm": "neutral"}}}, "has 'calm', which is no label of two"),
        ({"declared": {"three": {"calm": "neutral"}}}, "has 'three', which is no corpus: choose one, two"),
        ({"declared": {"calm": 3}}, "label_map.calm=3 is not a label"),
        ({"emotions": ["joy", "sad"]}, "has 'joy', which is no label"),
        ({"emotions": "happy"}, "is not a list"),
        ({"not_shared": "all"}, "not_shared=all is unknown"),
        ({}, "share only happy, but at least two are needed: one has calm, happy, sad; two has contempt"),
    ],
)
def test_mistakes_are_explained(two, settings, message):
    with pytest.raises(InputError, match=message):
        LabelMap(**settings).align(two)
