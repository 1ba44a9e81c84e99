"""Tables of shared emotions and of predictions over all emotions."""

import numpy as np
import pandas as pd
import pytest

from fervid.evaluate.cross_corpus import all_emotions_table, emotion_table


def test_table_lists_shared_and_dropped_emotions():
    labels = pd.Series(["happiness"] * 3 + ["calm"] * 2 + ["sad"])
    table = emotion_table(labels, [["happy", "sad", "fear"], ["happy", "sad", "calm"]], ["happy", "sad"]).data
    by_emotion = table.set_index("emotion")
    assert table["emotion"].tolist() == ["happy", "sad", "calm", "fear"]
    assert by_emotion["frames"].to_dict() == {"happy": 3, "sad": 1, "calm": 2, "fear": 0}
    assert by_emotion["use"]["calm"] == "dropped: not in every model"
    assert by_emotion["use"]["fear"] == "dropped: not in the corpus"
    assert (
        emotion_table(labels, [["happy", "sad"]], ["happy", "sad"]).data["use"].iloc[-1] == "dropped: not in the model"
    )


def test_predictions_of_emotions_that_are_not_shared_are_counted():
    labels = pd.Series(["happiness", "happiness", "sad", "calm"])
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.9, 0.1, 0.0]])
    table = all_emotions_table(labels, [("mine", probabilities, ["fear", "happy", "sad"])], ["happy", "sad"]).data
    not_shared = table.set_index("label")["not shared"].to_dict()
    assert not_shared == pytest.approx({"calm": 1.0, "happiness": 0.5, "sad": 0.0, "all shared": 1 / 3})
    assert table.iloc[-1]["frames"] == 3
    assert table.iloc[1][["fear", "happy", "sad"]].tolist() == [0.5, 0.5, 0.0]
