import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fervid.runs.printing import print_split
from fervid.runs.record import clip_scores, write_json


def test_a_clip_is_what_the_mean_of_its_frames_says():
    table = pd.DataFrame(
        [
            # frame by frame happy, happy, sad: the mean says sad
            ("a", "sad", 0.6, 0.4),
            ("a", "sad", 0.6, 0.4),
            ("a", "sad", 0.0, 1.0),
            ("b", "happy", 0.9, 0.1),
            ("c", "sad", 0.8, 0.2),
        ],
        columns=["clip", "true", "p_happy", "p_sad"],
    )
    assert clip_scores(table, ["happy", "sad"]) == pytest.approx(
        {"accuracy": 2 / 3, "uar": (1 + 0.5) / 2, "f1": (2 / 3 + 2 / 3) / 2}
    )


def test_json_has_null_for_what_is_no_number(tmp_path):
    write_json(tmp_path / "results.json", {"a": 1, "b": [np.nan, float("inf")]})
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": 1, "b": [None, None]}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_split_of_a_thousand_emotions_can_be_read_on_a_terminal(capsys):
    emotions = np.repeat([f"emotion {number:04d}" for number in range(1000)], 3)
    manifest = pd.DataFrame({"emotion": emotions, "split": ["train", "val", "test"] * 1000, "subject": "S001"})
    corpus = SimpleNamespace(
        manifest=manifest, class_names=sorted(set(emotions)), audit=SimpleNamespace(level="leaky", people_known=True)
    )
    print_split(Console(width=100), corpus)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 60
    assert any("960 more" in line and line.count(" 960 ") == 4 for line in lines)
    assert any("total" in line and line.count(" 1000 ") == 3 for line in lines)
