"""What is told of the emotions that a model and a corpus share or do not share."""

import numpy as np
import pandas as pd
import pytest

from fervid.evaluate.cross_corpus import emotion_table, first_choice_table


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
