"""Which emotions two corpora share, and what becomes of a model's probabilities."""

import numpy as np
import pandas as pd
import pytest

from fervid.evaluate.cross_corpus import (
    emotion_table,
    first_choice_table,
    merge_classes,
    restrict,
    shared_emotions,
)
from fervid.schema.errors import InputError


def test_shared_emotions_go_by_their_shared_names():
    assert shared_emotions([["sadness", "happiness", "calm"]], ["happy", "sad", "neutral"]) == ["happy", "sad"]
    assert shared_emotions([["sad", "happy", "fear"], ["fearful", "happiness"]], ["fear", "happy", "sad"]) == [
        "fear",
        "happy",
    ]


@pytest.mark.parametrize("corpus", [["happy", "angry"], ["angry", "fear"]])
def test_fewer_than_two_are_refused_with_both_vocabularies(corpus):
    with pytest.raises(InputError, match=f"knows calm, happiness; the corpus holds {', '.join(sorted(corpus))}"):
        shared_emotions([["calm", "happiness"]], corpus)


def test_classes_of_one_name_are_added_up():
    merged, names = merge_classes(
        np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.25, 0.25]]), ["sad", "happy", "sad", "x"]
    )
    assert names == ["sad", "happy", "x"]
    np.testing.assert_allclose(merged, [[0.4, 0.2, 0.4], [0.25, 0.5, 0.25]])


def test_the_rest_is_scaled_to_one_in_the_order_asked_for():
    said = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0], [0.2, 0.8, 0.0]])
    kept = restrict(said, ["calm", "happy", "sad"], ["sad", "happy"])
    np.testing.assert_allclose(kept, [[0.4, 0.6], [1, 0], [0, 1]])
    # Nothing at all on what is kept says nothing about it.
    np.testing.assert_allclose(restrict(said[[1]], ["calm", "happy", "sad"], ["happy", "calm"]), [[0.5, 0.5]])


def test_the_table_lists_shared_and_dropped_with_their_frames():
    labels = pd.Series(["happiness"] * 3 + ["calm"] * 2 + ["sad"])
    table = emotion_table(labels, [["happy", "sad", "fear"], ["happy", "sad", "calm"]], ["happy", "sad"]).data
    told = table.set_index("emotion")
    assert table["emotion"].tolist() == ["happy", "sad", "calm", "fear"]
    assert told["frames"].to_dict() == {"happy": 3, "sad": 1, "calm": 2, "fear": 0}
    assert told["use"]["calm"] == "dropped: a model does not know it"
    assert told["use"]["fear"] == "dropped: not in the corpus"
    assert (
        emotion_table(labels, [["happy", "sad"]], ["happy", "sad"]).data["use"].iloc[-1] == "dropped: not in the model"
    )


def test_first_choices_outside_the_shared_emotions_are_counted():
    labels = pd.Series(["happiness", "happiness", "sad", "calm"])
    said = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.9, 0.1, 0.0]])
    table = first_choice_table(labels, [("mine", said, ["fear", "happy", "sad"])], ["happy", "sad"]).data
    outside = table.set_index("the frames show")["outside"].to_dict()
    assert outside == pytest.approx({"calm": 1.0, "happiness": 0.5, "sad": 0.0, "all shared": 1 / 3})
    assert table.iloc[-1]["frames"] == 3
    assert table.iloc[1][["fear", "happy", "sad"]].tolist() == [0.5, 0.5, 0.0]
