"""Member table and comparison with the best member."""

from pathlib import Path

import numpy as np
import pandas as pd

from fervid.evaluate.ensemble import gain_sentence, member_table
from fervid.report.systems import System
from fervid.runs.run import Run


def system(name, right, subjects=4):
    """A system that is correct on the first ``right`` of 2 frames per subject and emotion."""
    rows = [(f"p{person}", emotion, n) for person in range(subjects) for emotion in ("happy", "sad") for n in range(2)]
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


def test_gain_over_the_best_member_has_an_interval():
    half, whole, none = (system(str(right), right) for right in (1, 2, 0))
    said = gain_sentence(whole, [none, half], resamples=100, seed=0)
    assert "UAR of 100.0% on frames, 50.0 points above its best member, 1 with 50.0%" in said
    assert "resampling subjects: +50.0 to +50.0" in said
    assert "may be due to chance" not in said
    assert "equal to its best member" in gain_sentence(half, [half, none], resamples=100, seed=0)
    assert "may be due to chance" in gain_sentence(half, [half, none], resamples=100, seed=0)
    assert "50.0 points below" in gain_sentence(half, [whole], resamples=100, seed=0)
    alone = [system(str(right), right, subjects=1) for right in (1, 2)]
    assert "no interval can be computed" in gain_sentence(alone[0], alone, resamples=100, seed=0)


def test_table_has_every_member_and_the_ensemble():
    table = member_table([system("a", 1), system("b", 2), system("ensemble", 2)], [0.25, 0.75, None],
                         resamples=100, seed=0)  # fmt: skip
    rows = table.data.set_index("model")
    assert table.title.startswith("Members and ensemble, leaky: ")
    assert rows["weight"][["a", "b"]].tolist() == [0.25, 0.75]
    assert np.isnan(rows["weight"]["ensemble"])
    assert rows["UAR frames"]["a"] == "50.0% (50.0 to 50.0)"
    assert rows["WAR clips"]["ensemble"] == "100.0% (100.0 to 100.0)"
    alone = member_table([system("a", 1, subjects=1)], [1.0], resamples=100, seed=0)
    assert "No interval can be computed for a single subject" in alone.notes[1]
    assert "weight" not in alone.data
    table = member_table([system("a", 1)], [1.0], [0.25], "How it is combined.", resamples=100, seed=0)
    assert "How it is combined." in table.notes
    assert table.text()["UAR, all emotions"].tolist() == ["25.0%"]
