"""Real photographs and real ImageNet weights, where they are at hand."""

import json
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not (SHARED / "muxspace").is_dir(), reason=f"no real pictures in {SHARED}")


@pytest.mark.slow
def test_pretrained_features_beat_random_ones_on_people_never_seen(fervid_train, tmp_path):
    weights = SHARED / "weights" / "mobilenet_v2_torchvision_backbone.pth"
    uar = {}
    for name, file in (("pretrained", weights), ("random", "null")):
        fervid_train(
            "dataset=image_folder",
            f"dataset.root={SHARED / 'muxspace'}",
            "dataset.subject_pattern='(.+)__'",
            "backbone=mobilenet_v2",
            "backbone.image_size=96",
            f"backbone.weights={file}",
            "finetune=frozen",
            "logger=none",
            "+trainer.enable_progress_bar=false",
            f"cache_dir={tmp_path / 'cache'}",
            f"hydra.run.dir={tmp_path / name}",
        )
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert results["data"]["frames"] == 1957
        assert results["data"]["subjects"] == 1459
        assert results["leakage"]["grade"] == "subject-independent"
        assert results["weights"]["source"] == ("file" if name == "pretrained" else "random")
        uar[name] = results["metrics"]["test/uar"]
    assert np.isfinite(list(uar.values())).all()
    assert uar["pretrained"] > 0.28  # twice chance of seven emotions
    assert uar["pretrained"] > uar["random"] + 0.05
