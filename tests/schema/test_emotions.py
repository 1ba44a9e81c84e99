"""Shared emotions of corpora and models, and restriction of probabilities to them."""

import numpy as np
import pytest

from fervid.errors import InputError
from fervid.schema.emotions import merge_classes, restrict, shared_emotions


def test_shared_emotions_are_matched_by_shared_name():
    assert shared_emotions([["sadness", "happiness", "calm"]], ["happy", "sad", "neutral"]) == ["happy", "sad"]
    assert shared_emotions([["sad", "happy", "fear"], ["fearful", "happiness"]], ["fear", "happy", "sad"]) == [
        "fear",
        "happy",
    ]


@pytest.mark.parametrize("corpus", [["happy", "angry"], ["angry", "fear"]])
def test_fewer_than_two_shared_emotions_are_rejected(corpus):
    with pytest.raises(InputError, match=f"has calm, happiness; the corpus has {', '.join(sorted(corpus))}"):
        shared_emotions([["calm", "happiness"]], corpus)


def test_classes_with_the_same_name_are_summed():
    merged, names = merge_classes(
        np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.25, 0.25]]), ["sad", "happy", "sad", "x"]
    )
    assert names == ["sad", "happy", "x"]
    np.testing.assert_allclose(merged, [[0.4, 0.2, 0.4], [0.25, 0.5, 0.25]])


def test_restricted_probabilities_sum_to_one_in_the_given_order():
    said = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0], [0.2, 0.8, 0.0]])
    kept = restrict(said, ["calm", "happy", "sad"], ["sad", "happy"])
    np.testing.assert_allclose(kept, [[0.4, 0.6], [1, 0], [0, 1]])
    # All kept probabilities are 0: the row becomes uniform.
    np.testing.assert_allclose(restrict(said[[1]], ["calm", "happy", "sad"], ["happy", "calm"]), [[0.5, 0.5]])
