"""Linear probe: scikit-learn's logistic regression as an ordinary run."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fervid import load_run
from fervid.callbacks import LinearProbe
from fervid.cli import compose
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.export import model_card
from fervid.export.exporting import export_run
from fervid.models.heads import LinearHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet
from fervid.runs.build import make_datamodule
from fervid.runs.load import stored_config
from fervid.tasks.classification import EmotionClassifier
from fervid.train.training import train

PROBE = ["experiment=smoke", "finetune=linear_probe", "head=linear", "logger=none"]


@pytest.mark.parametrize(("flip", "refit"), [(False, False), (True, False), (False, True), (True, True)])
def test_probe_equals_logistic_regression(cache, tmp_path, flip, refit):
    words = [*PROBE, f"cache_dir={cache}", "finetune.strengths=[0.01]", *(["augmentation=flip"] if flip else [])]
    words.append(f"finetune.refit={refit}")
    config = compose("train", words)
    train(config, tmp_path)
    model, datamodule = load_run(tmp_path), make_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup()
    model.network.freeze_before(model.network.stage_numbers("head"))
    branch = model.network.branches["image"].eval()

    def features(subset, *, mirrored=False):
        dataset = datamodule.dataset(subset)
        batch = dataset.__getitems__(list(range(len(dataset))))
        pictures = batch["image"].flip(3) if mirrored else batch["image"]
        return branch.frozen_prefix(pictures.float() / 255).numpy(), batch["emotion"].numpy()

    x, y = features("train")
    if flip:
        x, y = np.concatenate([x, features("train", mirrored=True)[0]]), np.tile(y, 2)
    weight = np.full(len(y), 0.5 if flip else 1.0)
    if refit:
        held_out, labels = features("val")
        x, y, weight = np.concatenate([x, held_out]), np.append(y, labels), np.append(weight, np.ones(len(labels)))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    probe.fit(x, y, logisticregression__sample_weight=weight)
    stored = pd.read_csv(tmp_path / "predictions.csv").filter(like="prob_").to_numpy()
    np.testing.assert_allclose(stored, probe.predict_proba(features("test")[0]), atol=1e-3)
    recorded = json.loads((tmp_path / "results.json").read_text())["history"][0]["train/accuracy"]
    assert (tmp_path / "predictions_val.csv").exists() != refit
    if not flip and not refit:  # with flips, each frame is scored in one of its two views
        assert recorded == pytest.approx(probe.score(*features("train")), abs=0.011)  # one frame may round differently


def test_strength_with_best_validation_score_is_chosen(cache, tmp_path, caplog):
    scores = {}
    for strengths in ([1e-6], [10.0], [1e-6, 10.0]):
        folder = tmp_path / str(len(scores))
        train(compose("train", [*PROBE, f"cache_dir={cache}", f"finetune.strengths={strengths}"]), folder)
        results = json.loads((folder / "results.json").read_text())
        scores[str(strengths)] = results["metrics"]["val/loss"]
        assert results["epochs"] == 1
    assert scores["[1e-06, 10.0]"] == min(scores.values()) < max(scores.values())


def test_validation_scores_are_those_before_the_heads_are_fitted_again(cache, tmp_path):
    scores = {}
    for refit in (False, True):
        words = [*PROBE, f"cache_dir={cache}", "finetune.strengths=[10.0]", f"finetune.refit={refit}"]
        train(compose("train", words), tmp_path / str(refit))
        scores[refit] = json.loads((tmp_path / str(refit) / "results.json").read_text())["metrics"]
    for name in ("val/loss", "val/uar"):
        assert scores[True][name] == scores[False][name]
    assert scores[True]["test/loss"] != scores[False]["test/loss"]


def test_probe_of_two_classes(pictures, image_folder):
    shutil.rmtree(pictures / "neutral")
    datamodule = image_folder()
    datamodule.prepare_data()
    datamodule.setup()
    backbone = LeNet()
    network = Network.of_pictures(backbone, LinearHead(backbone.output_shape(), 2, dropout=0.0))
    model = EmotionClassifier(network, ClassTarget(["happy", "sad"]))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    probe = LinearProbe([1.0])
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, callbacks=[probe], use_distributed_sampler=False, **quiet)
    trainer.fit(model, datamodule)
    assert probe.history[0]["train/accuracy"] == 1.0  # the emotions differ in their colour
    assert torch.equal(model.head.layers[1].weight[0], -model.head.layers[1].weight[1])


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["scheduler=cosine"], "scheduler=none"),
        (["head=mlp"], "give head=linear"),
        (["augmentation=hf_faces"], "needs the cached features"),
        (["finetune.strengths=[0]"], "give numbers above 0"),
        (["recipe=averaged_weights"], "leave out the recipes"),
        (["task.sam=0.05"], "leave out the recipes"),
        (["finetune=probe_then_last_block"], "needs head.dropout=0"),
        (["finetune.class_weight=even"], "give null or balanced"),
        (["finetune=probe_then_last_block", "head.dropout=0", "+finetune.refit=true"], "trains on the validation"),
    ],
)
def test_mistakes(cache, tmp_path, words, match):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Hydra wraps errors of constructors
        train(compose("train", [*PROBE, f"cache_dir={cache}", *words]), tmp_path)
    error = raised.value if isinstance(raised.value, InputError) else raised.value.__cause__
    assert isinstance(error, InputError)
    assert match in str(error)


def test_chosen_strength_is_recorded(cache, tmp_path):
    train(
        compose("train", [*PROBE, f"cache_dir={cache}", "finetune.strengths=[0.001,0.1]", "task.test_flips=true"]),
        tmp_path,
    )
    results = json.loads((tmp_path / "results.json").read_text())
    probe = results["probe"]["image"]
    scores = probe["scores"]
    assert list(scores) == ["0.001", "0.1"]
    chosen = scores[f"{probe['strength']:g}"]
    assert chosen["loss"] == min(score["loss"] for score in scores.values())
    assert chosen["loss"] == pytest.approx(results["metrics"]["val/loss"], abs=1e-4)
    assert chosen["uar"] == pytest.approx(results["metrics"]["val/uar"])
    config = stored_config(results, tmp_path)
    settings = dict(model_card._settings(results, config))
    assert settings["optimizer"] == f"L-BFGS (scikit-learn), inverse regularisation strength C {probe['strength']:g}"
    assert "linear probe" in settings["fine-tuning"]
    assert not {"scheduler", "loss", "batch size"} & set(settings)


def test_fine_tuning_starts_from_the_probe(cache, tmp_path):
    words = [*PROBE, f"cache_dir={cache}", "finetune.strengths=[0.01,0.1]"]
    train(compose("train", words), tmp_path / "probe")
    further = ["finetune=probe_then_last_block", "head.dropout=0", "finetune.phases.0.epochs=3", "trainer.max_epochs=4"]
    train(compose("train", [*words, *further, "scheduler=cosine"]), tmp_path / "tuned")
    probe, tuned = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("probe", "tuned"))
    assert [row["phase"] for row in tuned["history"]] == ["probe", "last_block", "last_block", "last_block"]
    assert tuned["history"][0]["val/uar"] == probe["metrics"]["val/uar"]
    rates = [row["lr/head"] for row in tuned["history"]]
    assert rates[0] == 0
    assert rates[1] > rates[2] > rates[3] > 0
    assert tuned["metrics"]["val/uar"] >= probe["metrics"]["val/uar"]
    settings = dict(model_card._settings(tuned, stored_config(tuned, tmp_path / "tuned")))
    assert settings["fine-tuning"].startswith("linear probe: ")
    assert "last_block: at most 3 epochs" in settings["fine-tuning"]
    assert "; then adam (" in settings["optimizer"]


def test_recipe_chooses_the_probe_and_no_dropout():
    config = compose("train", ["recipe=lp_ft", "backbone=mobilenet_v2"])
    assert config.finetune._target_ == "fervid.callbacks.LinearProbe"
    assert [phase.name for phase in config.finetune.phases] == ["last_block"]
    assert config.head.dropout == 0


def test_interrupted_fine_tuning_from_a_probe_resumes_identically(cache, tmp_path):
    words = [*PROBE, "finetune=probe_then_last_block", "head.dropout=0", f"cache_dir={cache}"]
    words += ["finetune.phases.0.epochs=3"]
    train(compose("train", [*words, "trainer.max_epochs=4"]), tmp_path / "whole")
    train(compose("train", [*words, "trainer.max_epochs=2"]), tmp_path / "part")
    checkpoint = f"ckpt_path={tmp_path / 'part' / 'checkpoints' / 'last.ckpt'}"
    train(compose("train", [*words, "trainer.max_epochs=4", checkpoint]), tmp_path / "rest")
    whole, rest = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("whole", "rest"))
    pd.testing.assert_frame_equal(whole, rest)


def test_probe_on_features_of_a_middle_stage(cache, tmp_path):
    train(compose("train", [*PROBE, f"cache_dir={cache}", "backbone.last_stage=pool1"]), tmp_path)
    model = load_run(tmp_path)
    assert model.backbone.stages == ["conv1", "tanh1", "pool1"]
    assert model.head.layers[1].in_features == 6
    export = export_run(tmp_path, ["onnx", "safetensors"])
    assert set(export.differences) == {"onnx", "safetensors"}
    assert "LeNet up to pool1" in (export.folder / "model_card.md").read_text()
