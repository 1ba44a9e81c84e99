"""Which emotions two corpora share, and what becomes of a model's probabilities."""

import numpy as np
import pytest

from fervid.errors import InputError
from fervid.schema.emotions import merge_classes, restrict, shared_emotions


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
