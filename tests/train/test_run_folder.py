"""Content of a run folder."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fervid
from fervid.cli import compose
from fervid.errors import InputError
from fervid.metrics.scores import scores
from fervid.train.trainer import allow_tf32
from fervid.train.training import train

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false"]


def test_run_writes_only_to_its_folder(run):
    folder, _, _ = run
    assert {path.name for path in folder.parent.iterdir()} == {"folder", "cache"}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} >= {
        ".hydra/config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "confusion_matrix.png",
        "curves.png",
        "manifest.parquet",
        "predictions.csv",
        "results.json",
        "sample_predictions.png",
        "train.log",
    }


def test_results_describe_the_run(run):
    folder, _, _ = run
    results = json.loads((folder / "results.json").read_text())
    assert results["data"]["frames"] == 96
    assert results["data"]["subjects"] == 6
    assert sum(results["data"]["split"].values()) == 96
    leakage = results["leakage"]
    assert leakage["level"] == "subject-independent"
    assert (leakage["subjects"]["count"], leakage["clips"]["count"], leakage["unknown_subjects"]) == (0, 0, 0)
    assert not (folder / "leaks.png").exists()
    assert results["epochs"] == len(results["history"]) == 4
    assert results["parameters"]["total"] == 61_496 + 4 * 85  # the paper's four classes, and four more
    assert results["parameters"]["trainable"]["frozen"] == 61_496 + 4 * 85 - 456 - 2416
    assert results["weights"] == {
        "requested": None,
        "source": "random",
        "sha256": None,
        "missing": None,
        "unwrapped": None,
        "data": None,
        "licence": None,
        "emotion_labels_of": [],
        "subjects_of": [],
    }
    assert set(results["seconds"]) == {"prepare", "fit", "test", "by_phase", "by_epoch"}
    assert results["versions"]["torch"] == torch.__version__.split("+")[0]
    assert results["seed"] == 42


def test_scores_follow_from_predictions(run):
    folder, _, _ = run
    results = json.loads((folder / "results.json").read_text())
    table = pd.read_csv(folder / "predictions.csv")
    names = results["class_names"]
    assert len(table) == results["data"]["split"]["test"]
    chances = table[[f"prob_{name}" for name in names]].to_numpy()
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert (table["predicted"] == np.array(names)[chances.argmax(axis=1)]).all()
    confusion = pd.crosstab(table["label"], table["predicted"]).reindex(index=names, columns=names, fill_value=0)
    assert confusion.to_numpy().tolist() == results["confusion"]
    for name, value in scores(confusion.to_numpy()).means().items():
        assert results["metrics"][f"test/{name}"] == pytest.approx(value)
    manifest = pd.read_parquet(folder / "manifest.parquet")
    assert table["index"].tolist() == manifest.index[manifest["split"] == "test"].tolist()
    assert (manifest.loc[table["index"], "emotion"].to_numpy() == table["label"]).all()


def test_run_can_be_loaded_in_one_line(run):
    folder, _, _ = run
    model = fervid.load_run(folder)
    table = pd.read_csv(folder / "predictions.csv")
    from fervid.data import SyntheticDataModule

    datamodule = SyntheticDataModule(
        identities=6,
        clips=1,
        frames=2,
        image_size=28,
        cache_dir=folder.parent / "cache",
        split=lambda m: ["train"] * len(m),
    )
    datamodule.prepare_data()
    dataset_rows = datamodule.rows.index

    faces = datamodule.face_cache[dataset_rows[table["index"]].to_numpy()]
    with torch.no_grad():
        chances = model(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).softmax(1).numpy()
    assert np.allclose(chances, table[[f"prob_{name}" for name in model.class_names]], atol=1e-5)


def test_tampered_run_executes_no_code(run, tmp_path):
    folder, _, _ = run
    shutil.copytree(folder, tmp_path / "run")
    results = tmp_path / "run" / "results.json"
    results.write_text(results.read_text().replace("fervid.models.paper_backbones.LeNet", "os.system"))
    with pytest.raises(InputError, match=r"refers to os.system"):
        fervid.load_run(tmp_path / "run")
    with pytest.raises(InputError, match="contains no finished run"):
        fervid.load_run(tmp_path)


@pytest.mark.parametrize("part", ["backbone", "head", "optimizer"])
def test_nested_settings_of_tampered_run_execute_no_code(run, tmp_path, part):
    folder, _, _ = run
    shutil.copytree(folder, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    results = json.loads(file.read_text())
    results["config"][part]["extra"] = {"_target_": "torch.save", "obj": 1, "f": str(tmp_path / "written")}
    file.write_text(json.dumps(results))
    if part == "optimizer":
        fervid.load_run(tmp_path / "run")  # needs none
    else:
        with pytest.raises(InputError, match=r"refers to torch.save"):
            fervid.load_run(tmp_path / "run")
    assert not (tmp_path / "written").exists()


def test_tensorboard_shows_curves_figures_and_one_hparams_row(run):
    folder, _, _ = run
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "val/loss", "val/uar", "lr/head"} <= set(tags["scalars"])
    assert {"figures/curves", "figures/confusion_matrix", "figures/sample_predictions"} == set(tags["images"])
    (shown,) = events.Images("figures/confusion_matrix")
    drawn = cv2.imread(str(folder / "confusion_matrix.png"))
    assert (cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR) == drawn).all()
    assert (shown.height, shown.width) == drawn.shape[:2]
    assert shown.step == 4
    assert not [name for name in tags["scalars"] if name.startswith(("test", "train_recall"))]
    for name in ("train/loss", "val/uar", "val_recall/happy", "lr/head"):
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3, 4], name
    results = json.loads((folder / "results.json").read_text())
    assert [event.step for event in events.Scalars("best/val_uar")] == [results["best_epoch"]]
    assert [row["epoch"] for row in results["history"]] == [1, 2, 3, 4]
    best = max(results["history"], key=lambda row: row["val/uar"])
    assert results["best_epoch"] == best["epoch"]
    assert "hp_metric" not in tags["scalars"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_float32_stays_float32_after_a_job_with_mixed_precision():
    try:
        for precision, matmul in (("bf16-mixed", "high"), ("32-true", "highest")):
            allow_tf32(precision)
            assert torch.get_float32_matmul_precision() == matmul
            assert torch.backends.cudnn.allow_tf32 == (matmul == "high")
    finally:
        torch.backends.cudnn.allow_tf32 = True  # the default of torch


def test_terminal_shows_split_and_results(run):
    _, out, err = run
    assert "Frames per emotion and subset" in out
    assert "Results (" in out
    assert "tensorboard --logdir" in out
    assert "Warning" not in err + out
    assert "litlogger" not in err + out


def test_random_split_warns_about_leakage(cache, tmp_path):
    words = [*SMOKE, "logger=none", "split=random_frames", "trainer.max_epochs=1", f"cache_dir={cache}"]
    train(compose("train", words), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["leakage"]["level"] == "leaky"
    assert any("this split leaks" in warning for warning in results["warnings"])


def test_missing_weights_are_reported_everywhere(fervid_train, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.create_connection", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    words = [*SMOKE, "backbone=alexnet", "backbone.image_size=64", "head=linear", "trainer.max_epochs=1"]
    fervid_train(*words, f"hydra.run.dir={tmp_path / 'run'}")
    output = capfd.readouterr()
    assert "NO PRETRAINED WEIGHTS" in output.out + output.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["weights"]["missing"]
    assert any("NO PRETRAINED WEIGHTS" in warning for warning in results["warnings"])
    assert "NO PRETRAINED WEIGHTS" in (tmp_path / "run" / "train.log").read_text()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert any(tag.startswith("warnings") for tag in events.Tags()["tensors"])
    with pytest.raises(SystemExit):
        fervid_train(*words, f"hydra.run.dir={tmp_path / 'strict'}", "on_missing_weights=error")
    assert "backbone.weights=null" in capfd.readouterr().err


class Collapse(pl.Callback):
    """Makes a network predict the first class."""

    def on_validation_start(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.head.layers[-1].weight.zero_()
            pl_module.head.layers[-1].bias.copy_(torch.eye(len(pl_module.head.layers[-1].bias))[0])


@pytest.mark.parametrize(("sam", "advice"), [(0, "smaller optimizer.lr"), (0.05, "smaller task.sam or optimizer.lr")])
def test_network_that_predicts_one_class_is_reported(cache, tmp_path, capsys, sam, advice):
    words = [*SMOKE, "backbone=lenet", f"task.sam={sam}", "trainer.max_epochs=1", f"cache_dir={cache}"]
    train(compose("train", words), tmp_path / "collapsed", callbacks=[Collapse()])
    results = json.loads((tmp_path / "collapsed" / "results.json").read_text())
    (warning,) = [text for text in results["warnings"] if "has not learned" in text]
    predicted = set(pd.read_csv(tmp_path / "collapsed" / "predictions_val.csv")["predicted"])
    assert f"predicts {predicted.pop()} for all " in warning
    assert advice in warning
    assert not predicted
    assert " ".join(warning.split()) in " ".join(capsys.readouterr().out.split())
