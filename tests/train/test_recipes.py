"""Recipes by command: they can be combined, are recorded, and their runs resume like any other."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from fervid.cli import compose
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.train.training import train

SMALL = [
    *("experiment=smoke", "finetune.phases.0.epochs=2", "finetune.phases.1.epochs=2", "trainer.max_epochs=4"),
    *("+trainer.enable_progress_bar=false", "logger=none"),
]
VIT = [
    *("backbone=timm", "backbone.name=vit_tiny_patch16_224", "backbone.weights=null", "backbone.image_size=32"),
    "finetune.phases.1.unfreeze_from=blocks.9",
]
COMBINED = {
    "usual": ("warmup_cosine layer_decay mixup cutmix label_smoothing random_erasing large_batch", []),
    "sharp": ("rand_augment sam averaged_weights", []),
    "transformer": ("transformer drop_path averaged_weights", VIT),
    "lora": ("lora sam averaged_weights", VIT),
}


class Dies(pl.Callback):
    """Ends the run in the middle of its third epoch, the first one of the second phase."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            raise SystemExit("killed")


def timeless(folder):
    history = json.loads((folder / "results.json").read_text())["history"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def test_every_recipe_is_tested():
    files = {path.stem for path in (Path(CONFIG_FOLDER) / "recipe").glob("*.yaml")} - {"none"}
    files -= {"lp_ft"}  # tests/callbacks/test_linear_probe.py
    assert {name for names, _ in COMBINED.values() for name in names.split()} == files


@pytest.mark.parametrize("name", COMBINED)
def test_combined_recipes_are_recorded_and_resumed(name, cache, tmp_path):
    recipes, words = COMBINED[name]
    if name == "lora":
        pytest.importorskip("peft", reason="recipe=lora needs peft")
    recipe = f"[{','.join(recipes.split())}]"
    words = [*SMALL, *words, f"recipe={recipe}", f"cache_dir={cache}"]
    train(compose("train", words), tmp_path / "whole")
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert results["choices"]["recipe"] == recipe
    assert [row["phase"] for row in results["history"]] == ["frozen"] * 2 + ["fine_tune"] * 2

    with pytest.raises(SystemExit, match="killed"):
        train(compose("train", words), tmp_path / "resumed", callbacks=[Dies()])
    assert not (tmp_path / "resumed" / "results.json").exists()
    train(compose("train", words), tmp_path / "resumed", resume=True)
    assert timeless(tmp_path / "resumed") == timeless(tmp_path / "whole")
    files = [tmp_path / run / "checkpoints" / "best.ckpt" for run in ("whole", "resumed")]
    whole, resumed = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    tables = [pd.read_csv(tmp_path / run / "predictions.csv") for run in ("whole", "resumed")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_layer_decay_applies_in_each_phase(cache, tmp_path):
    words = [*SMALL, "recipe=[warmup_cosine,layer_decay]", f"cache_dir={cache}"]
    train(compose("train", words), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["choices"]["optimizer"] == "adamw"
    rates = [(row["lr/backbone"], row["lr/head"]) for row in results["history"]]
    assert rates[0] == (pytest.approx(0.75 * rates[0][1]), rates[0][1])
    assert rates[2][1] < rates[0][1]  # a tenth of it in the second phase


def test_a_model_trained_with_lora_is_an_ordinary_one(fervid_command, fervid_train, tmp_path, capsys, monkeypatch):
    pytest.importorskip("peft", reason="recipe=lora needs peft")
    run = tmp_path / "run"
    fervid_train(*SMALL, *VIT, "recipe=lora", f"hydra.run.dir={run}")
    results = json.loads((run / "results.json").read_text())
    head, addition = 8 * 193, 8 * (192 + 3 * 192) + 8 * (192 + 192)  # of the weights of qkv and proj
    assert results["parameters"]["trainable"] == {"frozen": head, "fine_tune": 3 * addition + head}
    names = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert not any("lora" in name for name in names)
    assert any("lora" in name for name in torch.load(run / "checkpoints" / "last.ckpt")["state_dict"])

    find = importlib.util.find_spec  # peft is not needed to use the model
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *own: None if name == "peft" else find(name, *own))
    fervid_command("evaluate", f"run={run}", f"hydra.run.dir={tmp_path / 'evaluation'}")
    files = [run / "predictions.csv", *(tmp_path / "evaluation").rglob("predictions.csv")]
    own, again = (pd.read_csv(file).filter(like="prob_") for file in files)
    assert np.allclose(own, again, atol=1e-5)
    fervid_command("export", f"run={run}", "format=safetensors")
    with pytest.raises(SystemExit):
        fervid_train(*SMALL, *VIT, "recipe=lora")
    assert "backbone.lora needs peft: install it with pip install" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("task.layer_decay=0", "task.layer_decay=0 is out of range: use above 0 to 1."),
        ("task.mixup=-1", "task.mixup=-1 is out of range: use 0 or more."),
        ("task.sam=-1", "task.sam=-1 is out of range: use 0 or more."),
        ("recipe=[sam,large_batch]", "task.sam=0.05 needs an optimizer step for each batch"),
        (
            "recipe=averaged_weights callbacks.averaged_weights.decay=1",
            "decay=1 is out of range: use above 0 to",
        ),
        ("recipe=lora backbone.lora.r=0", "backbone.lora.r=0 is out of range: use 1 or more."),
        ("recipe=warmup_cosine scheduler.warmup=1", "scheduler.warmup=1 is out of range: use 0 to below 1."),
    ],
)
def test_settings_out_of_range(fervid_train, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        fervid_train(*SMALL, *words.split(), f"hydra.run.dir={tmp_path}")
    assert message in " ".join(capsys.readouterr().err.split())
