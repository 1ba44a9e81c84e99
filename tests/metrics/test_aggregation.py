from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from fervid.errors import InputError
from fervid.metrics.aggregation import RULES, clip_predictions, confusion, measure

NAMES = ["happy", "angry", "sad"]  # not in alphabetical order
CHANCES = [f"prob_{name}" for name in NAMES]


def table(clips, probabilities, true, **columns):
    probabilities = np.asarray(probabilities, dtype=float).reshape(-1, len(NAMES))
    predicted = np.array(NAMES, dtype=object)[probabilities.argmax(axis=1)]
    frames = pd.DataFrame({"clip": clips, **columns, "label": true, "predicted": predicted})
    return pd.concat([frames, pd.DataFrame(probabilities, columns=CHANCES)], axis=1)


def random_table(seed, frames=120, clips=25):
    rng = np.random.default_rng(seed)
    return table(
        [f"clip {number}" for number in rng.integers(0, clips, frames)],  # frames of a clip are not contiguous
        rng.dirichlet(np.ones(len(NAMES)), frames),
        rng.choice(NAMES, frames),
    )


def by_hand(frames, rule):
    """Probabilities, prediction and label of each clip."""
    clips = {}
    for clip in frames["clip"]:
        rows = frames[frames["clip"] == clip]
        rates = rows[CHANCES].to_numpy()
        mean = [sum(column) / len(rates) for column in rates.T]
        result, order = mean, mean
        if rule == "majority":
            votes = Counter(rows["predicted"])
            result = [votes[name] / len(rows) for name in NAMES]
            order = [(votes[name], mean[number]) for number, name in enumerate(NAMES)]
        if rule == "confidence":
            result = order = np.average(rates, axis=0, weights=[max(row) for row in rates]).tolist()
        labels = Counter(rows["label"])
        clips[clip] = (
            result,
            NAMES[max(range(len(NAMES)), key=lambda number, order=order: order[number])],
            max(NAMES, key=lambda name, labels=labels: labels[name]),
        )
    return clips


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_clip_predictions_agree_with_a_loop(seed, rule):
    frames = random_table(seed)
    clips = clip_predictions(frames, NAMES, rule)
    expected = by_hand(frames, rule)
    assert clips["clip"].tolist() == list(expected)  # in the order of first appearance
    assert clips[CHANCES].to_numpy() == pytest.approx(np.array([result for result, _, _ in expected.values()]))
    assert clips["predicted"].tolist() == [predicted for _, predicted, _ in expected.values()]
    assert clips["label"].tolist() == [true for _, _, true in expected.values()]
    assert clips["frames"].tolist() == list(Counter(frames["clip"]).values())
    assert clips[CHANCES].sum(axis=1).to_numpy() == pytest.approx(1)


def test_rules_differ():
    frames = table(["a"] * 3, [[0.4, 0.6, 0.0], [0.4, 0.6, 0.0], [0.9, 0.0, 0.1]], "sad")
    clips = {rule: clip_predictions(frames, NAMES, rule).iloc[0] for rule in RULES}
    assert clips["mean"][CHANCES].tolist() == pytest.approx([1.7 / 3, 1.2 / 3, 0.1 / 3])
    assert clips["majority"][CHANCES].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert clips["confidence"][CHANCES].tolist() == pytest.approx([1.29 / 2.1, 0.72 / 2.1, 0.09 / 2.1])
    assert [clips[rule]["predicted"] for rule in ("mean", "majority", "confidence")] == ["happy", "angry", "happy"]


def test_tied_votes_are_broken_by_the_mean():
    frames = table(["a"] * 2, [[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]], "sad")
    clip = clip_predictions(frames, NAMES, "majority").iloc[0]
    assert clip["predicted"] == "angry"
    assert clip[CHANCES].tolist() == [0.5, 0.5, 0]


def test_mean_only_breaks_ties():
    two_each = [[0.5, 0.0, 0.5 - 1e-9], [0.5, 0.0, 0.5 - 1e-9], [0.0, 0.51, 0.49], [0.0, 0.51, 0.49]]
    frames = table(["a"] * 4, two_each, "sad")
    assert clip_predictions(frames, NAMES, "mean")["predicted"].tolist() == ["sad"]
    assert clip_predictions(frames, NAMES, "majority")["predicted"].tolist() == ["angry"]


@pytest.mark.parametrize("rule", RULES)
def test_remaining_ties_are_broken_by_class_order(rule):
    frames = table(["a"] * 2, [[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], ["sad", "angry"])
    clip = clip_predictions(frames, NAMES, rule).iloc[0]
    assert (clip["predicted"], clip["label"]) == ("happy", "angry")


@pytest.mark.parametrize("rule", RULES)
def test_clip_with_one_frame_equals_the_frame(rule):
    frames = random_table(0, frames=20).drop_duplicates("clip", ignore_index=True)
    clips = clip_predictions(frames, NAMES, rule)
    kept = ["clip", "label", "predicted", *(CHANCES if rule != "majority" else [])]
    pd.testing.assert_frame_equal(clips[kept], frames[kept], check_dtype=False)
    assert clips["frames"].eq(1).all()


def test_columns_that_vary_within_a_clip_are_dropped():
    frames = table(
        ["a", "b", "a", "b"],
        np.eye(3)[[0, 1, 2, 0]],
        "sad",
        subject=["01", None, "01", None],
        sex=["f", "m", "f", "m"],
        intensity=[1, None, None, None],  # missing in some frames of a clip
        frame=[0, 0, 1, 1],
        spectacles=[None] * 4,
    )
    frames.index = [7, 7, 3, 1]  # row numbers of a manifest
    clips = clip_predictions(frames, NAMES)
    assert clips.columns.tolist() == [
        *("clip", "frames", "subject", "sex", "spectacles", "label", "predicted"),
        *CHANCES,
    ]
    assert clips["sex"].tolist() == ["f", "m"]
    assert clips["subject"].iloc[0] == "01"
    assert clips["subject"].isna().tolist() == [False, True]
    assert clips.index.tolist() == [0, 1]


@pytest.mark.parametrize("rule", RULES)
def test_no_frames_give_no_clips(rule):
    clips = clip_predictions(random_table(0)[:0], NAMES, rule)
    assert clips.empty
    assert clips.columns.tolist() == ["clip", "frames", "label", "predicted", *CHANCES]
    assert confusion(clips, NAMES).tolist() == np.zeros((3, 3)).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_confusion_agrees_with_scikit_learn(seed):
    frames = random_table(seed)
    frames = frames[frames["label"] != "angry"]  # now occurs only among the predictions
    counts = confusion(frames, NAMES)
    assert counts.dtype.kind == "i"
    assert (counts == confusion_matrix(frames["label"], frames["predicted"], labels=NAMES)).all()


def test_unknown_rule():
    with pytest.raises(InputError, match="rule=median is unknown"):
        clip_predictions(random_table(0), NAMES, "median")


@pytest.mark.parametrize("label", ["calm", None])
def test_unknown_emotion(label):
    frames = random_table(0)
    frames.loc[3, "label"] = label
    for reading in (confusion, clip_predictions):
        with pytest.raises(InputError, match=f"contain {'calm' if label else '(nan|None)'}, but the classes are happy"):
            reading(frames, NAMES)


def test_measure():
    """The frames of clip a are predicted happy, happy, sad; their mean is sad."""
    rates = [[0.6, 0, 0.4], [0.6, 0, 0.4], [0, 0, 1], [0.9, 0, 0.1], [0.8, 0, 0.2]]
    measured = measure(table(list("aaabc"), rates, ["sad", "sad", "sad", "happy", "sad"]), NAMES)
    assert measured["confusion"] == [[1, 0, 0], [0, 0, 0], [3, 0, 1]]
    assert measured["recall"] == {"happy": 1.0, "angry": None, "sad": 0.25}
    assert measured["precision"] == {"happy": 0.25, "angry": None, "sad": 1.0}
    assert measured["metrics"] == pytest.approx(
        {
            **{"test/accuracy": 2 / 5, "test/uar": 0.625, "test/f1": 0.4},
            **{"test/clip_accuracy": 2 / 3, "test/clip_uar": 0.75, "test/clip_f1": 2 / 3},
        }
    )
