"""The command ``fervid.baseline``."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from fervid.baseline.baseline import baseline
from fervid.cli import compose
from fervid.cli.folders import alone
from fervid.errors import InputError

SMALL = ["dataset.identities=6", "dataset.clips=1", "dataset.frames=2"]
SMALL += ["features.image_size=32", "features.scales=2", "features.orientations=4"]


@pytest.fixture
def folder(fervid_command, tmp_path, capsys):  # capsys captures the output of this fixture
    fervid_command("baseline", *SMALL, f"hydra.run.dir={tmp_path / 'run'}")
    return tmp_path / "run"


def test_run_folder_is_complete(folder, fervid_command, capsys):
    said = capsys.readouterr().out
    assert "Results (subject-independent)" in said
    assert f"Output: {folder}" in said
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "confusion_matrix.png",
        "manifest.parquet",
        "predictions.csv",
        "predictions_val.csv",
        "results.json",
        "sample_predictions.png",
    }
    results = json.loads((folder / "results.json").read_text())
    assert results["choices"] == {
        "dataset": "synthetic",
        "detector": "haar",
        "split": "subject",
        "identity": None,
        "features": "lgbp",
        "backbone": "lgbp",
    }
    assert results["overrides"][:6] == SMALL
    assert results["config"]["features"] == {"image_size": 32, "scales": 2, "orientations": 4, "grid": 4}
    assert set(results["seconds"]) == {"prepare", "fit", "test"}
    assert all(value > 0 for value in results["seconds"].values())
    assert {"scikit-learn", "scikit-image", "torch"} < set(results["versions"])
    assert (results["data"]["frames"], results["data"]["subjects"], results["data"]["rendered"]) == (96, 6, True)
    assert (results["seed"], results["device"], results["warnings"]) == (42, "cpu", [])
    assert results["leakage"]["level"] == "subject-independent"

    with pytest.raises(SystemExit):  # a finished run is not overwritten
        fervid_command("baseline", *SMALL, f"hydra.run.dir={folder}")
    assert "already contains a finished run" in capsys.readouterr().err


def test_scores_follow_from_the_predictions(folder):
    results = json.loads((folder / "results.json").read_text())
    metrics, names = results["metrics"], results["class_names"]
    manifest = pd.read_parquet(folder / "manifest.parquet")
    for side, name in (("val", "predictions_val.csv"), ("test", "predictions.csv")):
        table = pd.read_csv(folder / name)
        true, predicted = table["label"], table["predicted"]
        chances = table[[f"prob_{name}" for name in names]].to_numpy()
        assert table["index"].tolist() == manifest.index[manifest["split"] == side].tolist()
        assert (manifest.loc[table["index"], "emotion"].to_numpy() == true).all()
        assert (predicted == np.array(names)[chances.argmax(axis=1)]).all()
        expected = {
            "accuracy": accuracy_score(true, predicted),
            "uar": recall_score(true, predicted, average="macro"),
            "f1": f1_score(true, predicted, average="macro", zero_division=0),
            "loss": log_loss(true, chances, labels=names),
        }
        assert {score: metrics[f"{side}/{score}"] for score in expected} == pytest.approx(expected, rel=1e-4)
        columns = [*manifest.drop(columns=["cache_row", "clip_row"]).rename(columns={"emotion": "label"})]
        assert list(table) == ["index", *columns, "predicted", *(f"prob_{name}" for name in names)]
        if side == "test":
            recalls = recall_score(true, predicted, average=None, labels=names)
            assert results["recall"] == pytest.approx(dict(zip(names, recalls, strict=True)))
            clips = table.groupby("clip")[[f"prob_{name}" for name in names]].mean().to_numpy().argmax(axis=1)
            right = np.array(names)[clips] == table.groupby("clip")["label"].first()
            assert metrics["test/clip_accuracy"] == pytest.approx(right.mean())
    assert metrics["train/accuracy"] > 0.8
    assert results["best_score"] == metrics["val/uar"]


def test_folder_in_use_by_another_process_is_rejected(cache, tmp_path):
    config = compose("baseline", [*SMALL, f"cache_dir={cache}"])
    with alone(tmp_path), pytest.raises(InputError, match="another process is using"):
        baseline(config, tmp_path)
    score = baseline(config, tmp_path)
    with alone(tmp_path):  # skipping a finished run needs no exclusive access
        assert baseline(config, tmp_path, resume=True) == score


@pytest.mark.parametrize("values", [[10.0, 0.1], [0.1]])
def test_baseline_of_sounds(fervid_command, tmp_path, capsys, values):
    words = ["features=log_mel", *SMALL[:2], "dataset.frames=1", f"svm_c={values}".replace(" ", "")]
    fervid_command("baseline", *words, f"hydra.run.dir={tmp_path}")
    assert "test, clips" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    metrics, data = results["metrics"], results["data"]
    assert (results["choices"]["features"], results["choices"]["backbone"]) == ("log_mel", "log_mel_svm")
    assert (data["frames"], data["clips"], results["seconds"]["fit"] > 0) == (48, 48, True)
    assert metrics["val/uar"] == results["best_score"]
    for name, count in (("predictions.csv", data["split"]["test"]), ("predictions_val.csv", data["split"]["val"])):
        table = pd.read_csv(tmp_path / name)
        assert len(table) == count
        assert np.allclose(table[[f"prob_{name}" for name in results["class_names"]]].sum(axis=1), 1)
    if 10.0 in values:  # regularised less, so that it fits the training subset; chance is 1/8
        assert metrics["train/accuracy"] > 0.9
        assert metrics["test/uar"] > 0.3


@pytest.mark.slow
def test_sweep_is_resumed(fervid_command, tmp_path, capsys):
    words = ["-m", *SMALL, "pca=0.9,5000", f"hydra.sweep.dir={tmp_path}"]
    with pytest.raises(SystemExit):
        fervid_command("baseline", *words)
    said = capsys.readouterr()
    assert "1 of 2 jobs failed" in said.err
    assert "pca=5000 is too large for 48 training faces: use at most 48" in said.err
    finished = (tmp_path / "0" / "results.json").stat().st_mtime
    with pytest.raises(SystemExit):
        fervid_command("baseline", *words)
    assert (tmp_path / "0" / "results.json").stat().st_mtime == finished


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pca=1"], "pca=1 is invalid"),
        (["pca=much"], "pca=much is not a number"),
        (["features.grid=0"], "features.grid=0 is out of range: use 1 to 16"),
        (["features.scales=2.5"], "features.scales=2.5 is not a whole number"),
        (["features=log_mel", "features.bands=300"], "features.bands=300 is out of range: use 8 to 128"),
        (["features=log_mel", "svm_c=[]"], "svm_c=[] is empty"),
        (["features=log_mel", "svm_c=[0]"], "svm_c=0.0 is out of range: give positive numbers"),
        (["features=log_mel", "svm_c=3"], "svm_c=3 is not a list"),
        (["features=log_mel", "pca=300"], "pca"),
        (["seed=-1"], "seed=-1 is out of range"),
        (["dataset=hf_faces", "dataset.root=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(fervid_command, capsys, words, sentence, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("baseline", *words, f"hydra.run.dir={tmp_path}")
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
    assert not (tmp_path / "manifest.parquet").exists()  # reported before the corpus is prepared
