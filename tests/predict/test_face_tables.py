"""The files faces.csv and faces.jsonl."""

import json

import numpy as np
import pandas as pd
import pytest

from fervid.faces.face import Face
from fervid.media.decoding import Frame
from fervid.predict.face_tables import FACE_COLUMNS, FACES, records
from fervid.predict.predictor import FacePrediction
from fervid.predict.record_files import RecordFiles
from fervid.schema.parts import EMOTION, Part

PARTS = [Part(EMOTION, ("happy", "sad"))]


def seen(person=None):
    picture = np.zeros((8, 8, 3), np.uint8)
    return FacePrediction(Face((1.04, 2, 3, 4)), "eyes", picture, np.array([0.25, 0.75], np.float32), "sad", person)


def test_row_contains_all_columns_of_a_face():
    rows = records('a, "b".mp4', Frame(6, 0.20004, np.zeros((9, 9, 3), np.uint8)), [seen(2), seen()], PARTS)
    assert rows[0] == {
        "source": 'a, "b".mp4',
        "frame": 6,
        "time": 0.2,
        "person": 2,
        "box_left": 1.0,
        "box_top": 2.0,
        "box_width": 3.0,
        "box_height": 4.0,
        "aligned": "eyes",
        "emotion": "sad",
        "confidence": 0.75,
        "prob_happy": 0.25,
        "prob_sad": 0.75,
    }
    assert rows[1]["person"] is None
    assert list(rows[0]) == [*FACE_COLUMNS, "prob_happy", "prob_sad"]


def test_both_files_contain_only_complete_lines(tmp_path):
    frame = Frame(0, 0.0, np.zeros((9, 9, 3), np.uint8))
    rows = records('a, "b"\nc.mp4', frame, [seen(1)], PARTS)
    with RecordFiles(tmp_path, FACES, [*FACE_COLUMNS, "prob_happy", "prob_sad"]) as files:
        files.write(rows)
        position = files.position
        files.write(records("NA", frame, [seen(3)], PARTS))
        # Nothing is closed yet.
        lines = (tmp_path / "faces.jsonl").read_text().splitlines()
        assert json.loads(lines[0]) == rows[0]
        table = pd.read_csv(tmp_path / "faces.csv", keep_default_na=False)
        assert table["source"].tolist() == ['a, "b"\nc.mp4', "NA"]
        since = files.rows_from(position)
        assert since["source"].tolist() == ["NA"]
        assert since["person"].tolist() == [3]
        assert since["prob_sad"].tolist() == pytest.approx([0.75])
