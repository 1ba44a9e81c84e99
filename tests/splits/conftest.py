import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def manifest():
    """20 subjects with 2 clips of 3 frames in each of 2 to 4 emotions."""
    rng = np.random.default_rng(0)
    rows = []
    for subject in range(20):
        for emotion in rng.permutation(["happy", "sad", "fear", "angry"])[: rng.integers(2, 5)]:
            for clip in range(2):
                rows += [{"subject": f"s{subject}", "clip": f"{subject}{emotion}{clip}", "emotion": emotion}] * 3
    return pd.DataFrame(rows)
