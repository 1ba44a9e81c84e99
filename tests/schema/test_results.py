import copy
import json

import numpy as np
import pytest

from fervid.errors import InputError
from fervid.schema.results import mistake, read_results, write_results

RESULTS = {
    "choices": {"backbone": "lenet", "experiment": None},
    "config": {"seed": 0, "split": {"fold": 1}, "dataset": {"face_size": 64, "margin": 1}, "anything": [{"a": 1}]},
    "task": "classification",
    "class_names": ["happy", "sad"],
    "data": {"corpus": "synthetic", "corpora": [], "split": {"train": 1, "val": 1, "test": 2}},
    "leakage": {"level": "leaky", "subjects": {"count": 1, "total": 2}},
    "metrics": {"test/uar": 0.5, "val/uar": None},
    "seconds": {"fit": 3},
    "history": [{"epoch": 1, "phase": "full", "seconds": 1.5, "train/loss": 0.3}],
}


def put(*path, value):
    results = copy.deepcopy(RESULTS)
    place = results
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return results


def test_written_results_are_read_unchanged(tmp_path):
    write_results(tmp_path, {**RESULTS, "best_score": np.nan, "of_another_version": {"a": 1}})
    assert read_results(tmp_path) == {**RESULTS, "best_score": None, "of_another_version": {"a": 1}}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("seconds", "fit"), "long", "seconds.fit is 'long': expected a number"),
        (("seconds", "fit"), True, "seconds.fit is True: expected a number"),
        (("metrics", "test/uar"), "best", "metrics.test/uar is 'best': expected a number or null"),
        (("metrics", "test/uar"), float("inf"), "metrics.test/uar is inf: expected a finite number"),
        (("data", "split", "val"), 1.5, "data.split.val is 1.5: expected a whole number"),
        (("data", "split"), {"train": 1, "val": 1}, "data.split.test is missing"),
        (("config", "split", "fold"), [1], "config.split.fold is [1]: expected a whole number or text or null"),
        (("config", "split"), 3, "config.split is 3: expected an object or null"),
        (("config", "anything", 0), "${oc.env:HOME}", "config.anything[0] refers to '${oc.env:HOME}'"),
        (("class_names",), [], "class_names is missing: the task classification has them"),
        (("class_names", 1), 3, "class_names[1] is 3: expected text"),
        (("class_names", 1), "happy", "class_names is ['happy', 'happy']: expected distinct names"),
        (("history", 0, "train/loss"), [1], "history[0].train/loss is [1]: expected a number or text or null"),
        (("history", 0, "epoch"), None, "history[0].epoch is None: expected a whole number"),
        (("history",), {}, "history is {}: expected a list"),
        (("leakage", "level"), "fair", "leakage.level is 'fair': expected subject-independent, "),
        (("confusion",), [[1, 2]], "confusion is not a table of 2 x 2 numbers"),
    ],
)
def test_invalid_entries(path, value, sentence):
    assert mistake(RESULTS) is None
    assert mistake(put(*path, value=value)).startswith(sentence)


def test_invalid_files(tmp_path):
    with pytest.raises(InputError, match="the run is not finished"):
        read_results(tmp_path)
    path = tmp_path / "results.json"
    for text, sentence in (
        ("{", "results.json cannot be read"),
        ("[]", "it contains no results"),
        (json.dumps({**RESULTS, "seconds": 3}), "cannot be used: seconds is 3: expected an object"),
        (
            json.dumps({"seed": 1}),
            "has no choices, config, task, data, leakage, metrics, seconds: it was written by",
        ),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_results(tmp_path)
