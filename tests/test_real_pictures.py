"""Real photographs and real ImageNet weights, if available."""

import json
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not (SHARED / "muxspace").is_dir(), reason=f"no real pictures in {SHARED}")

PATTERN = r"(?:unknown-)?(.+?)(?:-\d+)?__"


def audit(fervid_command, folder, pattern):
    root = SHARED / "muxspace"
    words = ("dataset=image_folder", f"dataset.root={root}", f"dataset.subject_pattern='{pattern}'")
    fervid_command("audit", *words, "dataset.face_size=64", f"hydra.run.dir={folder}")
    return json.loads((folder / "audit.json").read_text())


@pytest.mark.slow
def test_numbered_names_of_film_stills_are_eight_subjects(fervid_command, tmp_path):
    """420 names, ``unknown-Dileep-33`` and the like, are eight actors: the set has 1,047 subjects."""
    believed = audit(fervid_command, tmp_path / "believed", "(.+)__")
    assert believed["subjects"]["total"] == 1459
    assert believed["level"] == "subject-independent by name"
    assert "420 of 1459 subjects have names that differ only in a trailing number" in believed["doubts"][0]
    assert "unknown-Dwarakish-" in believed["doubts"][0]
    assert "there are 1459 subjects for 1957 clips" in believed["doubts"][1]
    right = audit(fervid_command, tmp_path / "right", PATTERN)
    assert right["subjects"]["total"] == 1047
    assert not any("trailing number" in doubt for doubt in right["doubts"])


@pytest.mark.slow
def test_pretrained_features_beat_random_ones_on_unseen_subjects(fervid_train, tmp_path):
    weights = SHARED / "weights" / "mobilenet_v2_torchvision_backbone.pth"
    uar = {}
    for name, file in (("pretrained", weights), ("random", "null")):
        fervid_train(
            "dataset=image_folder",
            f"dataset.root={SHARED / 'muxspace'}",
            f"dataset.subject_pattern='{PATTERN}'",
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
        assert results["data"]["subjects"] == 1047
        assert results["leakage"]["level"] == "subject-independent by name"
        assert results["weights"]["source"] == ("file" if name == "pretrained" else "random")
        uar[name] = results["metrics"]["test/uar"]
    assert np.isfinite(list(uar.values())).all()
    assert uar["pretrained"] > 0.28  # twice chance of seven emotions
    assert uar["pretrained"] > uar["random"] + 0.05
