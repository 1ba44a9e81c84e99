"""Valence and arousal, action units, and several targets at once."""

import logging

import numpy as np
import pandas as pd
import pytest

from fervid.data.part_targets import ActionUnitTarget, AffectTarget, MultiTarget
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.tasks.multi import MultiTask


def samples(**columns):
    rows = 12
    table = {"clip": [f"c{row}" for row in range(rows)], "emotion": ["happy", "sad"] * 6}
    table |= {"split": ["train"] * 6 + ["val"] * 3 + ["test"] * 3, "valence": np.linspace(-1, 1, rows), "arousal": 0.5}
    return pd.DataFrame(table | {"au_12": [1, 0] * 6, "au_4": [0, 1, 1] * 4} | columns)


def test_values_are_numbers_and_empty_cells_are_unknown():
    table = samples(valence=["0.25", None, *["-1"] * 10])  # cells of a CSV are text
    target = AffectTarget()
    target.fit(table)
    values = target.values(table)
    assert values.dtype == np.float32
    assert values[0].tolist() == [0.25, 0.5]
    assert np.isnan(values[1, 0])
    assert values[1, 1] == 0.5


def test_units_are_sorted_by_number_and_counted():
    target = ActionUnitTarget()
    target.fit(samples())
    assert target.columns == ["au_4", "au_12"]
    assert target.counts.tolist() == [[2, 4], [3, 3]]
    assert target.values(samples())[:2].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("target", "columns", "sentence"),
    [
        (AffectTarget, {"valence": [1.2] + [0.0] * 11}, r"the clip 'c0' has valence=1\.2: give a number from -1 to 1"),
        (AffectTarget, {"arousal": ["high"] + ["0"] * 11}, "the clip 'c0' has arousal=high: give a number"),
        (AffectTarget, {"arousal": [None] * 6 + [0.1] * 6}, "no sample of the train subset has a label of arousal"),
        (AffectTarget, {"arousal": [0.1] * 6 + [None] * 6}, "no sample of the val subset has a label of arousal"),
        (ActionUnitTarget, {"au_12": [3.0] + [0.0] * 11}, r"the clip 'c0' has au_12=3\.0: give 1 for present or 0"),
        (ActionUnitTarget, {"au_012": 1}, "the column au_012 is not an action unit: write au_4 for unit 4"),
        (ActionUnitTarget, {"au_12": 0, "au_4": 1}, "no action unit is both present and absent in the training subset"),
    ],
)
def test_labels_that_cannot_be_learned_are_one_sentence(target, columns, sentence):
    with pytest.raises(InputError, match=sentence):
        target().fit(samples(**columns))


def test_corpus_without_the_columns_is_one_sentence():
    table = samples().drop(columns=["valence", "au_4", "au_12"])
    with pytest.raises(InputError, match=r"^the corpus has no column valence: choose dataset=affectnet"):
        AffectTarget().fit(table)
    with pytest.raises(InputError, match=r"^the corpus has no column au_<number>"):
        ActionUnitTarget().fit(table)
    multi = MultiTarget([ClassTarget(), ActionUnitTarget()])
    with pytest.raises(InputError, match=r"Or leave it out: task\.target\.parts=\[emotion\]"):
        multi.fit(table)


def test_units_that_do_not_vary_and_samples_without_labels_are_named(caplog):
    with caplog.at_level(logging.WARNING, "fervid"):
        target = ActionUnitTarget()
        target.fit(samples(au_4=[0.0] * 6 + [1.0] * 6, au_12=[None, 1, 0] * 4))
    assert target.columns == ["au_12"]
    assert "AU4 cannot be learned and is left out" in caplog.text
    assert "4 of 12 samples have no label of action units: they are neither learned from nor scored" in caplog.text


def test_several_targets_are_columns_next_to_each_other():
    target = MultiTask.make_target(["emotion", "action_units", "valence_arousal"])
    target.fit(samples(valence=[None] + [0.5] * 11))
    assert target.size == 2 + 2 + 2
    assert [part.name for part in target.parts] == ["emotion", "action_units", "valence_arousal"]
    values = target.values(samples(valence=[None] + [0.5] * 11))
    assert values.dtype == np.float32
    assert values[1].tolist() == [1, 1, 0, 0.5, 0.5]
    assert np.isnan(values[0, 3])


@pytest.mark.parametrize("parts", [["emotion"], ["emotion", "emotion"], ["emotion", "gaze"], "emotion", 3])
def test_invalid_parts_are_refused(parts):
    with pytest.raises(InputError, match=r"^task\.target\.parts="):
        MultiTask.make_target(parts)


def test_balanced_sampling_needs_classes():
    multi = MultiTarget([AffectTarget(), ClassTarget()])
    table = samples(emotion=["happy"] * 4 + ["sad"] * 8)
    multi.fit(table.assign(split=["train", "val", "test"] * 4))
    assert multi.balancing_weights(table).tolist() == [0.25] * 4 + [0.125] * 8
    for target in (AffectTarget(), ActionUnitTarget()):
        with pytest.raises(InputError, match=r"leave dataset\.sampler=shuffle"):
            target.balancing_weights(table)
