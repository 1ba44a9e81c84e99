"""Test-time flips: the mean of the outputs for a picture and its mirror image, wherever a run is used."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from fervid import Predictor, load_run
from fervid.cli import compose
from fervid.runs.build import make_datamodule
from fervid.train.training import train

WORDS = ["experiment=smoke", "finetune=frozen", "head=linear", "trainer.max_epochs=2", "logger=none"]


def test_outputs_are_averaged_except_in_training(lenet):
    plain, flips = lenet().eval(), lenet(test_flips=True).eval()
    pictures = torch.rand(4, 3, 28, 28)
    with torch.no_grad():
        expected = (plain(pictures) + plain(pictures.flip(3))) / 2
        assert torch.equal(flips(pictures), expected)
        assert not torch.allclose(plain(pictures), expected)
        torch.manual_seed(0)
        trained = flips.train()(pictures)
        torch.manual_seed(0)
        assert torch.equal(plain.train()(pictures), trained)


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    """A finished run with test-time flips, and its configuration."""
    folder = tmp_path_factory.mktemp("flips")
    config = compose("train", [*WORDS, f"cache_dir={cache}", "task.test_flips=true"])
    train(config, folder)
    return folder, config


def stored(folder):
    return pd.read_csv(folder / "predictions.csv").filter(like="prob_").to_numpy()


def test_recorded_and_predicted_by_run(run):
    folder, config = run
    assert json.loads((folder / "results.json").read_text())["config"]["task"]["test_flips"] is True
    datamodule = make_datamodule(config)
    datamodule.prepare_data(), datamodule.setup()
    samples = datamodule.samples_of("test")
    faces = datamodule.face_cache[samples["cache_row"].to_numpy()]
    predictor = Predictor(folder)
    np.testing.assert_allclose(predictor.answers(faces)["emotion"], stored(folder), atol=2e-6)
    predictor.model.test_flips = False
    plain = predictor.answers(faces)["emotion"]
    assert np.abs(plain - stored(folder)).max() > 1e-4


def test_cached_and_computed_mirror_images_are_equal(run, tmp_path, cache):
    folder, _ = run
    train(compose("train", [*WORDS, f"cache_dir={cache}", "task.test_flips=true", "finetune.cache_gb=0"]), tmp_path)
    np.testing.assert_allclose(stored(tmp_path), stored(folder), atol=1e-5)


def test_evaluation_reproduces_the_scores(run, fervid_command, tmp_path, capsys, cache):
    fervid_command("evaluate", f"run={run[0]}", f"hydra.run.dir={tmp_path / 'evaluation'}", f"cache_dir={cache}")
    assert "equals the value recorded by the run" in " ".join(capsys.readouterr().out.split())


def test_report_keeps_runs_with_and_without_apart(run, fervid_command, tmp_path, cache):
    train(compose("train", [*WORDS, f"cache_dir={cache}"]), tmp_path / "without")
    output = tmp_path / "report"
    fervid_command("report", f"runs=[{run[0]},{tmp_path / 'without'}]", f"hydra.run.dir={output}")
    text = (output / "report.md").read_text()
    assert "test_flips=true" in text
    assert "test_flips=false" in text
    assert "Test flips: outputs for a picture and its mirror image were averaged." in text


def test_export_contains_or_states_the_average(run, fervid_command, tmp_path):
    fervid_command("export", f"run={run[0]}", "format=[onnx,safetensors]", f"folder={tmp_path / 'export'}")
    metadata = {each.key: each.value for each in onnx.load(tmp_path / "export" / "model.onnx").metadata_props}
    with safe_open(tmp_path / "export" / "model.safetensors", "pt") as file:
        assert (metadata["test_flips"], file.metadata()["test_flips"]) == ("true", "true")
    card = " ".join((tmp_path / "export" / "model_card.md").read_text().split())
    assert "the mean of those for a face and its mirror image (for `model.safetensors`, average them yourself)" in card


def test_weights_of_run_keep_the_setting(run):
    assert load_run(run[0]).test_flips
