"""Weights of members, the vote, and what is said of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.evaluate.ensemble import gain_sentence, member_table, member_weights, soft_vote
from fervid.report.systems import System
from fervid.runs.run import Run


def stored(uar=None):
    return Run(Path("run"), {"metrics": {"val/uar": uar}})


def test_weights_sum_to_one():
    runs = [stored(0.3), stored(0.6)]
    np.testing.assert_allclose(member_weights(None, runs), [0.5, 0.5])
    np.testing.assert_allclose(member_weights([3, 1], runs), [0.75, 0.25])
    np.testing.assert_allclose(member_weights("validation", runs), [1 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1], "for 2 runs"),
        ([1, -1], "none below 0"),
        ([0, 0], "not all 0"),
        ([1, "a"], "a number for each"),
        ([1, True], "a number for each"),
        ("test", "validation, or a list"),
        (3, "validation, or a list"),
        ("validation", "needs a validation UAR"),
    ],
)
def test_other_weights_are_refused(weights, said):
    with pytest.raises(InputError, match=said):
        member_weights(weights, [stored(0.5), stored(None)])


def test_the_vote_is_the_weighted_mean():
    a, b = np.array([[1.0, 0.0], [0.6, 0.4]]), np.array([[0.0, 1.0], [0.2, 0.8]])
    np.testing.assert_allclose(soft_vote([a, b], np.array([0.75, 0.25])), [[0.75, 0.25], [0.5, 0.5]])


def system(name, right, people=4):
    """Says the truth of the first ``right`` of 2 frames a person and emotion."""
    rows = [(f"p{person}", emotion, n) for person in range(people) for emotion in ("happy", "sad") for n in range(2)]
    table = pd.DataFrame(rows, columns=["subject", "label", "frame"])
    table["corpus"], table["clip"] = "made", table["subject"] + table["label"]
    happy = (table["label"] == "happy") == (table["frame"] < right)
    table["prob_happy"], table["prob_sad"] = np.where(happy, 0.9, 0.1), np.where(happy, 0.1, 0.9)
    table["predicted"] = np.where(happy, "happy", "sad")
    results = {
        "task": "classification",
        "class_names": ["happy", "sad"],
        "leakage": {"level": "leaky"},
        "data": {"corpus": "made"},
        "choices": {"split": "x"},
        "config": {},
        "metrics": {},
    }
    run = Run(Path(name), results)
    run.__dict__["predictions"] = table
    return System({}, [run], {}, name)


def test_the_gain_is_over_the_best_member_with_its_interval():
    half, whole, none = (system(str(right), right) for right in (1, 2, 0))
    said = gain_sentence(whole, [none, half], resamples=100, seed=0)
    assert "UAR of 100.0% on frames, 50.0 points above the best of its members on these frames, 1 with 50.0%" in said
    assert "over people: +50.0 to +50.0" in said
    assert "may be chance" not in said
    assert "just as much as" in gain_sentence(half, [half, none], resamples=100, seed=0)
    assert "may be chance" in gain_sentence(half, [half, none], resamples=100, seed=0)
    assert "50.0 points below" in gain_sentence(half, [whole], resamples=100, seed=0)
    alone = [system(str(right), right, people=1) for right in (1, 2)]
    assert "no interval" in gain_sentence(alone[0], alone, resamples=100, seed=0)


def test_the_table_has_every_member_and_the_whole():
    table = member_table([system("a", 1), system("b", 2), system("ensemble", 2)], [0.25, 0.75, None],
                         resamples=100, seed=0)  # fmt: skip
    rows = table.data.set_index("model")
    assert table.title.startswith("Members and ensemble, leaky: ")
    assert rows["weight"][["a", "b"]].tolist() == [0.25, 0.75]
    assert np.isnan(rows["weight"]["ensemble"])
    assert rows["UAR frames"]["a"] == "50.0% (50.0 to 50.0)"
    assert rows["WAR clips"]["ensemble"] == "100.0% (100.0 to 100.0)"
    alone = member_table([system("a", 1, people=1)], [1.0], resamples=100, seed=0)
    assert "Of a single person no interval" in alone.notes[1]
    assert "weight" not in alone.data
    told = member_table([system("a", 1)], [1.0], [0.25], resamples=100, seed=0)
    assert told.text()["UAR, any emotion"].tolist() == ["25.0%"]
