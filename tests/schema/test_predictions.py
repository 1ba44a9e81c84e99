import numpy as np
import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.schema.predictions import (
    confidence,
    predictions_table,
    probabilities,
    probability_columns,
    read_predictions,
    write_predictions,
)

NAMES = ["NA", "sad"]  # pandas would read it as missing
CHANCES = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])


@pytest.fixture
def samples():
    rows = {"corpus": "one", "subject": ["01", "01", None], "clip": ["a", "a", "=b"], "frame": [0, 1, 0]}
    return pd.DataFrame({**rows, "emotion": ["sad", "NA", "NA"], "cache_row": [7, 8, 9]}, index=[4, 5, 9])


def test_predictions_table(samples):
    table = predictions_table(samples, CHANCES, NAMES)
    assert table.columns.tolist() == [
        *("index", "corpus", "subject", "clip", "frame", "label", "predicted", "prob_NA", "prob_sad")
    ]
    assert (table["index"].tolist(), table["predicted"].tolist()) == ([4, 5, 9], ["sad", "NA", "NA"])
    assert probability_columns(NAMES) == ["prob_NA", "prob_sad"]
    assert (probabilities(table, NAMES) == CHANCES).all()
    assert (probabilities(table, NAMES[::-1]) == CHANCES[:, ::-1]).all()
    assert confidence(table, NAMES).tolist() == [0.75, 0.5, 1.0]


def test_predictions_are_replaced(samples):
    table = predictions_table(samples, CHANCES, NAMES)
    again = predictions_table(table, CHANCES[:, ::-1], NAMES)
    assert again.columns.tolist() == table.columns.tolist()
    assert (again["index"].tolist(), again["predicted"].tolist()) == ([4, 5, 9], ["NA", "NA", "sad"])


def test_written_predictions_are_read_unchanged(samples, tmp_path):
    table = predictions_table(samples, CHANCES, NAMES)
    write_predictions(tmp_path, table)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    read = read_predictions(tmp_path / "predictions.csv", NAMES, 3)
    assert read.drop(columns="subject").to_dict("list") == table.drop(columns="subject").to_dict("list")
    assert read["subject"].tolist()[:2] == ["01", "01"]
    write_predictions(tmp_path, table, table[:1])
    assert len(read_predictions(tmp_path / "predictions_val.csv", NAMES)) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prob_sad": None}, "it has empty cells and may be truncated"),
        ({"prob_sad": "x"}, "its column prob_sad has values that are not numbers"),
        ({"prob_sad": 1.5}, "it has probabilities outside 0 to 1"),
        ({"predicted": "joy"}, "it contains 'joy', which is not an emotion of the run"),
    ],
)
def test_invalid_tables(samples, tmp_path, change, sentence):
    path = tmp_path / "predictions.csv"
    write_predictions(tmp_path, predictions_table(samples, CHANCES, NAMES).assign(**change))
    with pytest.raises(InputError, match=sentence):
        read_predictions(path, NAMES)


def test_missing_columns_and_rows(samples, tmp_path):
    table = predictions_table(samples, CHANCES, NAMES)
    write_predictions(tmp_path, table.drop(columns=["corpus", "prob_sad"]), table)
    with pytest.raises(InputError, match="it has no column corpus, prob_sad; train the run again"):
        read_predictions(tmp_path / "predictions.csv", NAMES)
    with pytest.raises(InputError, match=r"it has 3 rows, but its results.json records 4"):
        read_predictions(tmp_path / "predictions_val.csv", NAMES, 4)
    with pytest.raises(InputError, match=r"none\.csv cannot be read"):
        read_predictions(tmp_path / "none.csv", NAMES)
