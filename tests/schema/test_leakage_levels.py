import json

from fervid.schema.leakage_levels import LeakageLevel


def test_levels_are_ordered_from_best_to_worst():
    labels = [
        *("subject-independent", "subject-independent by name", "subject-independent by clustering"),
        *("unknown-subjects", "subjects in pretraining", "subject-dependent", "labels in pretraining", "leaky"),
    ]
    assert [str(level) for level in LeakageLevel] == labels
    assert [LeakageLevel(label).rank for label in labels] == list(range(8))
    assert json.loads(json.dumps(list(LeakageLevel))) == labels


def test_each_level_has_its_own_texts_and_colour():
    for name in ("sentence", "phrase", "colour"):
        assert len({getattr(level, name) for level in LeakageLevel}) == len(LeakageLevel)
    assert all(level.sentence.endswith(".") for level in LeakageLevel)
