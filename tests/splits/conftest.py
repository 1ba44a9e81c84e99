import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def manifest():
    """20 people, each with 2 clips of 3 frames in some of 4 emotions, unevenly."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(20):
        for emotion in rng.permutation(["happy", "sad", "fear", "angry"])[: rng.integers(2, 5)]:
            for clip in range(2):
                rows += [{"subject": f"s{person}", "clip": f"{person}{emotion}{clip}", "emotion": emotion}] * 3
    return pd.DataFrame(rows)
