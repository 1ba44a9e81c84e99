"""Untrusted run folders cannot read secrets or other folders, and fail with one sentence."""

import os
import shutil

import pandas as pd
import pytest
import torch
from stored_results import COMMANDS, edit, everything_written, put

import fervid
from fervid.errors import InputError

SECRET = "the-token-of-this-machine"

# Interpolations


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_reads_an_environment_variable_for_a_run(name, run, command, monkeypatch, tmp_path):
    monkeypatch.setenv("FERVID_TEST_SECRET", SECRET)
    edit(run, put("config.optimizer.note", "${oc.env:FERVID_TEST_SECRET}"))
    code, said = command(name, run)
    assert SECRET not in said
    assert SECRET.encode() not in everything_written(tmp_path)
    assert code == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("reference", ["${oc.env:FERVID_TEST_SECRET}", "{{ config }} {{ 7 * 191 }}"])
def test_text_of_a_run_is_not_interpolated(reference, run, command, monkeypatch, tmp_path):
    monkeypatch.setenv("FERVID_TEST_SECRET", SECRET)
    edit(run, lambda results: results.update(warnings=[reference], git_revision=reference))
    edit(run, put("data.corpus", reference))
    edit(run, put("choices.optimizer", reference))
    assert command("export", run)[0] == 0
    assert command("report", run)[0] == 0
    written = everything_written(tmp_path)
    assert SECRET.encode() not in written
    assert b"1337" not in (run / "export" / "model_card.md").read_bytes()


@pytest.mark.parametrize(
    "place", ["task.loss.focal_gamma", "optimizer.note", "finetune.phases.0.name", "dataset.root", "paper", "new.list"]
)
def test_python_reads_no_environment_variable_for_a_run(place, run, monkeypatch):
    monkeypatch.setenv("FERVID_TEST_SECRET", SECRET)
    reference = "a ${oc.env:FERVID_TEST_SECRET}"
    edit(run, put(f"config.{place}", {"paper": {"name": reference}, "new.list": [[reference]]}.get(place, reference)))
    for opened in (fervid.load_run, fervid.Predictor):
        with pytest.raises(InputError, match="refers to") as refused:
            opened(run)
        assert SECRET not in str(refused.value)


# Links


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET)
    return folder


def as_folder(run, outside, name):
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(outside)


def as_file(run, outside, name):
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside / "secret.txt")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("plant", "link"),
    [
        (as_folder, "tensorboard"),
        (as_file, "export/model.onnx"),
    ],
)
def test_no_command_follows_a_link_out_of_the_run(name, plant, link, run, outside, command):
    plant(run, outside, link)
    before = sorted(outside.rglob("*"))
    code, said = command(name, run)
    assert code == 1, said
    assert "Traceback" not in said
    assert sorted(outside.rglob("*")) == before
    assert (outside / "secret.txt").read_text() == SECRET
    copies = [path for path in run.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(SECRET.encode() in path.read_bytes() for path in copies)


@pytest.mark.parametrize(
    ("plant", "link"),
    [
        (as_folder, "explanation"),
        (as_folder, "checkpoints"),
        (as_file, "results.json"),
        (as_file, "predictions.csv"),
        (as_file, "checkpoints/best.ckpt"),
        (as_file, ".hydra/config.yaml"),
    ],
)
def test_python_follows_no_link_out_of_a_run(plant, link, run, outside):
    plant(run, outside, link)
    for opened in (fervid.load_run, fervid.Predictor):
        with pytest.raises(InputError, match="leads out of the folder"):
            opened(run)


def test_error_names_link_that_leads_out(run, outside):
    (run / "tensorboard" / "more").symlink_to(os.path.relpath(outside, run / "tensorboard"))
    with pytest.raises(InputError, match=r"tensorboard/more.* leads out of the folder"):
        fervid.Predictor(run)


def test_named_pipe_is_rejected(run):
    (run / "predictions_val.csv").unlink()
    os.mkfifo(run / "predictions_val.csv")
    with pytest.raises(InputError, match=r"predictions_val\.csv is neither a file nor a folder"):
        fervid.load_run(run)


def test_links_within_a_run_and_to_a_run_are_followed(run, tmp_path):
    (run / "checkpoints" / "last.ckpt").unlink()
    (run / "checkpoints" / "last.ckpt").symlink_to("best.ckpt")
    (tmp_path / "mine").symlink_to(run)
    assert fervid.load_run(tmp_path / "mine", "last").class_names == ["angry", "happy", "sad"]


def test_training_does_not_write_through_links(fervid_train, tmp_path, outside, capsys):
    folder = tmp_path / "begun"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").symlink_to(outside / "secret.txt")
    (folder / "manifest.parquet").symlink_to(outside / "new")
    with pytest.raises(SystemExit) as stopped:
        fervid_train("backbone=lenet", "trainer.max_epochs=1", f"hydra.run.dir={folder}")
    assert stopped.value.code == 1
    assert "leads out of the folder" in capsys.readouterr().err
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET


def test_export_folder_contains_only_exported_files(run, command):
    (run / "export").mkdir()
    for name in ("model.onnx", "model.safetensors", "run_onnx.py"):
        (run / "export" / name).write_text("planted")
    code, said = command("export", run)  # of safetensors
    assert code == 0, said
    assert b"planted" not in everything_written(run)


# Content


BROKEN = {
    "seed": "tomorrow",
    "class_names": "angry",
    "class_names.0": 3,
    "class_names.1": "angry",
    "choices": ["lenet"],
    "choices.backbone": {"a": 1},
    "config": "config",
    "config.seed": "tomorrow",
    "config.backbone": "lenet",
    "config.backbone.image_size": "large",
    "config.backbone._partial_": True,
    "config.backbone.surprise": 1,
    "config.head.hidden": "wide",
    "config.dataset.face_size": "???",
    "config.dataset.margin": {"a": 1},
    "config.split": [1],
    "config.sample": "frame",
    "config.sample.modalities": "image",
    "config.sample.frames": "many",
    "config.detector": 3,
    "data": [],
    "data.corpus": 5,
    "data.split": {"train": "many"},
    "data.emotion_by_split": {"angry": "all"},
    "leakage": "none",
    "leakage.level": "certified",
    "leakage.doubts": [3],
    "leakage.subjects": 7,
    "metrics": [0.5],
    "metrics.test/uar": "best",
    "metrics.test/f1": float("inf"),
    "recall": 1,
    "precision.happy": "high",
    "confusion": "square",
    "confusion.0": [1],
    "seconds": 3,
    "warnings": "none",
    "versions": 1,
    "history": {"epoch": 1},
    "history.0.epoch": "first",
    "epochs": "three",
    "best_epoch": [1],
    "parameters": 5,
    "weights": "random",
    "overrides": 5,
}


@pytest.mark.parametrize("place", BROKEN)
def test_a_wrong_type_in_results_is_one_sentence(place, run):
    edit(run, put(place, BROKEN[place]))
    with pytest.raises(InputError) as refused:
        fervid.Predictor(run)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_type_ends_each_command_with_one_sentence(name, run, command):
    for place in ("seed", "class_names"):
        edit(run, put(place, BROKEN[place]))
        code, said = command(name, run)
        assert code == 1
        assert len(said.splitlines()) == 1
        assert said.startswith("fervid: ")


@pytest.mark.parametrize("absent", ["parameters", "versions", "recall"])
def test_results_missing_model_card_entries_are_one_sentence(absent, run, command):
    edit(run, lambda results: results.pop(absent))
    code, said = command("export", run)
    assert (code, "model card" in said, "Traceback" in said) == (1, True, False), said


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_weights_that_are_not_finite_are_one_sentence(bad, run, command):
    path = run / "checkpoints" / "best.ckpt"
    state = torch.load(path, weights_only=True)
    next(iter(state["state_dict"].values())).fill_(float(bad))
    torch.save(state, path)
    for name in ("predict", "evaluate", "explain", "export", "demo"):
        code, said = command(name, run)
        assert (code, "not finite" in said, "Traceback" in said) == (1, True, False), said
    with pytest.raises(InputError, match="not finite"):
        fervid.load_run(run)


@pytest.mark.parametrize("content", [{"state_dict": {"head": "x"}}, {"state_dict": 3}, [1], {"weights": {}}])
def test_a_checkpoint_of_wrong_types_is_one_sentence(content, run):
    torch.save(content, run / "checkpoints" / "best.ckpt")
    with pytest.raises(InputError, match="does not match"):
        fervid.load_run(run)


@pytest.mark.parametrize(
    ("column", "value"), [("prob_happy", "much"), ("prob_happy", "7"), ("predicted", "joy"), ("frame", "x")]
)
def test_wrong_cells_in_predictions_are_one_sentence(column, value, run, command):
    path = run / "predictions.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[1, column] = value
    table.to_csv(path, index=False)
    for name in ("explain", "export", "report"):
        code, said = command(name, run)
        assert (code, "predictions.csv cannot be read" in said, "Traceback" in said) == (1, True, False), said


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("task", None),
        ("task._target_", "fervid.tasks.losses.EmotionLoss"),
        ("split", None),
        ("split", {"val": 0.2, "test": 0.2}),
        ("dataset", None),
        ("dataset._partial_", True),
        ("dataset._target_", "fervid.faces.detection.NoDetector"),
        ("dataset.emotions", {"a": [1]}),
        ("backbone", None),
        ("head", None),
        ("detector", "haar"),
    ],
)
def test_malformed_parts_are_one_sentence(place, value, run, command):
    edit(run, put(f"config.{place}", value))
    for name in ("predict", "evaluate", "explain", "export"):  # demo would start a server
        code, said = command(name, run)
        assert "Traceback" not in said, (name, said)
        assert "defect" not in said, (name, said)
        assert code == 0 or said.splitlines()[-1].startswith("fervid: "), (name, said)
    assert command("evaluate", run)[0] == 1


@pytest.mark.parametrize("name", ["evaluate", "explain"])
def test_run_cannot_choose_what_is_downloaded(name, run, command, monkeypatch):
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **_: asked.append(repo))
    stored = {"_target_": "fervid.data.CorpusDataModule", "corpus": "fervid.corpora.HFFaces", "root": None}
    edit(run, put("config.dataset", stored | {"repo": "someone/else"}))
    code, said = command(name, run)
    assert (code, asked) == (1, [])
    assert "someone/else" in said.splitlines()[-1]
    assert "root=<folder>" in said.splitlines()[-1]
