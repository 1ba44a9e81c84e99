from types import SimpleNamespace

import numpy as np
import pandas as pd
from rich.console import Console

from fervid.runs.printing import print_split


def test_split_table_of_a_thousand_emotions_is_shortened(capsys):
    emotions = np.repeat([f"emotion {number:04d}" for number in range(1000)], 3)
    manifest = pd.DataFrame({"emotion": emotions, "split": ["train", "val", "test"] * 1000, "subject": "S001"})
    corpus = SimpleNamespace(
        manifest=manifest,
        class_names=sorted(set(emotions)),
        audit=SimpleNamespace(level="leaky", subjects_known=True),
        label_report=None,
    )
    print_split(Console(width=100), corpus)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 60
    assert any(line.split() == ["970", "more", "970", "970", "970"] for line in lines)
    assert any(line.split() == ["total", "1000", "1000", "1000"] for line in lines)
