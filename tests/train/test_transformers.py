"""Transformers: their blocks are stages that can be frozen, cached, exported and, with feature maps, explained."""

import json

import pandas as pd
import pytest

SMALL = [
    *("experiment=smoke", "backbone=timm", "backbone.weights=null", "backbone.image_size=32", "trainer.max_epochs=2"),
    "+trainer.enable_progress_bar=false",
]
PHASES = ["finetune.phases.0.epochs=1", "finetune.phases.1.epochs=1", "finetune.phases.1.unfreeze_from=blocks.9"]


def test_blocks_are_frozen_and_cached(fervid_train, tmp_path):
    """The features of a stage in the middle are tokens; training on them equals training on the pictures."""
    for name, gigabytes in (("cached", 1), ("plain", 0)):
        folders = [f"hydra.run.dir={tmp_path / name}", f"cache_dir={tmp_path / 'cache'}"]
        network = ["backbone.name=vit_tiny_patch16_224", f"finetune.cache_gb={gigabytes}"]
        fervid_train(*SMALL, *PHASES, *network, "optimizer=sgd", *folders)
    files = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "cache").rglob("features/*.npy")}
    assert files == {"head", "blocks.9"}
    cached, plain = (pd.read_csv(tmp_path / folder / "predictions.csv") for folder in ("cached", "plain"))
    columns = [column for column in plain if column.startswith("prob_")]
    assert (cached[columns] - plain[columns]).abs().to_numpy().max() < 1e-4
    results = json.loads((tmp_path / "cached" / "results.json").read_text())
    assert results["parameters"]["trainable"] == {"frozen": 8 * 193, "fine_tune": 3 * 444_864 + 384 + 8 * 193}


@pytest.mark.parametrize(
    ("name", "has_maps"), [("vit_tiny_patch16_224", False), ("swin_tiny_patch4_window7_224", True)]
)
def test_transformer_is_exported_and_explained(fervid_train, fervid_command, tmp_path, capsys, name, has_maps):
    run = tmp_path / "run"
    fervid_train(*SMALL, f"backbone.name={name}", "finetune=frozen", f"hydra.run.dir={run}")
    fervid_command("export", f"run={run}", "format=[onnx,safetensors]")
    assert {"model.onnx", "model.safetensors"} <= {path.name for path in (run / "export").iterdir()}
    if has_maps:
        fervid_command("explain", f"run={run}", "samples=random")
        assert (run / "explanation" / "heat_maps.npz").exists()
    else:
        with pytest.raises(SystemExit):
            fervid_command("explain", f"run={run}", "samples=random")
        assert "no feature maps larger than one pixel" in " ".join(capsys.readouterr().err.split())
