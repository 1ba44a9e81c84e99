"""What the initial weights learned travels from the settings to results, reports, exports and later runs."""

import json
import re
import shlex

import pytest
import torch
from safetensors import safe_open

from fervid.models.paper_backbones import LeNet

WORDS = ["experiment=smoke", "logger=none", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false"]
INFO = ["backbone.weights_info.data=FACES-9", "backbone.weights_info.licence='CC BY-NC 4.0'"]
LABELS = "backbone.weights_info.emotion_labels_of=[Synthetic]"


@pytest.fixture
def runs(fervid_train, tmp_path):
    """Two runs on the rendered corpus that differ in what is stated about the same weights."""
    torch.save(LeNet().network.state_dict(), tmp_path / "lenet.pth")
    words = [*WORDS, f"backbone.weights={tmp_path / 'lenet.pth'}"]
    fervid_train(*words, f"hydra.run.dir={tmp_path / 'runs' / 'unseen'}")
    fervid_train(*words, *INFO, LABELS, f"hydra.run.dir={tmp_path / 'runs' / 'seen'}")
    return tmp_path / "runs"


def recorded(folder):
    return json.loads((folder / "results.json").read_text())


def test_what_the_weights_learned_is_recorded_and_reported(capfd, runs, fervid_command, tmp_path):
    said = " ".join(capfd.readouterr().out.split())
    assert "Results (labels in pretraining)" in said
    assert "Initial weights lenet.pth (file): trained on FACES-9; licence: CC BY-NC 4.0. Research only:" in said
    unseen, seen = recorded(runs / "unseen"), recorded(runs / "seen")
    assert unseen["leakage"]["level"] == "subject-independent"
    assert unseen["weights"]["data"] == "unknown"
    assert seen["leakage"]["level"] == "labels in pretraining"
    assert seen["leakage"]["weights"] == {"emotion_labels_of": ["Synthetic"]}
    assert any("were trained on emotion labels of Synthetic, a corpus of this run" in each for each in seen["warnings"])

    fervid_command("report", f"runs={runs}/*", f"hydra.run.dir={tmp_path / 'report'}", "resamples=100")
    report = (tmp_path / "report" / "report.md").read_text()
    assert "the initial weights of only one of the two were trained on emotion labels of the corpus" in report
    assert "| CC BY-NC 4.0 | yes" in " ".join(report.split())
    assert "labels in pretraining" in report

    fervid_command("export", f"run={runs / 'seen'}", "format=safetensors")
    card = (runs / "seen" / "export" / "model_card.md").read_text()
    assert "Leakage level: **labels in pretraining**" in card
    assert "trained on FACES-9. Licence of these weights and their data: CC BY-NC 4.0. **Research only" in card
    with safe_open(runs / "seen" / "export" / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["leakage"] == "labels in pretraining"
    assert json.loads(metadata["weights_info"])["emotion_labels_of"] == ["Synthetic", "synthetic"]

    fervid_command("evaluate", f"run={runs / 'seen'}", f"hydra.run.dir={tmp_path / 'evaluation'}", "resamples=100")
    (member,) = (tmp_path / "evaluation" / "members").iterdir()
    assert recorded(member)["leakage"]["level"] == "labels in pretraining"


@pytest.mark.parametrize("file", ["export/model.safetensors", "checkpoints/best.ckpt"])
def test_weights_of_a_run_are_known_to_have_learned_its_corpus(file, fervid_command, tmp_path):
    fervid_command("train", *WORDS, f"hydra.run.dir={tmp_path / 'first'}")
    fervid_command("export", f"run={tmp_path / 'first'}", "format=safetensors")
    weights = f"backbone.weights={tmp_path / 'first' / file}"
    fervid_command("train", *WORDS, weights, f"hydra.run.dir={tmp_path / 'second'}")
    second = recorded(tmp_path / "second")
    assert second["weights"]["data"] == "synthetic"
    assert second["leakage"]["level"] == "labels in pretraining"
    assert second["leakage"]["weights"] == {"emotion_labels_of": ["synthetic"], "subjects_of": ["synthetic"]}


def test_command_of_the_card_trains_the_same_network(fervid_command, tmp_path):
    network = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=null", "backbone.image_size=40"]
    network += ["backbone.options={stem_width:8}", "backbone.mean=[0.5,0.5,0.25]"]
    fervid_command("train", *WORDS, *network, f"hydra.run.dir={tmp_path / 'first'}")
    fervid_command("export", f"run={tmp_path / 'first'}", "format=safetensors")
    card = (tmp_path / "first" / "export" / "model_card.md").read_text()
    (command,) = re.findall(r"python -m fervid.train (backbone=[^`]+)`", card)
    words = shlex.split(command.replace("model.safetensors", str(tmp_path / "first" / "export" / "model.safetensors")))
    fervid_command("train", *WORDS, *words, f"hydra.run.dir={tmp_path / 'second'}")
    first, second = (recorded(tmp_path / name) for name in ("first", "second"))
    for key in ("name", "image_size", "mean", "std", "options"):
        assert second["config"]["backbone"][key] == first["config"]["backbone"][key]


def test_unreadable_record_beside_a_checkpoint_is_no_record(fervid_command, tmp_path):
    fervid_command("train", *WORDS, f"hydra.run.dir={tmp_path / 'first'}")
    results = recorded(tmp_path / "first")
    del results["data"]["corpora"]
    (tmp_path / "first" / "results.json").write_text(json.dumps(results))
    weights = f"backbone.weights={tmp_path / 'first' / 'checkpoints' / 'best.ckpt'}"
    fervid_command("train", *WORDS, weights, f"hydra.run.dir={tmp_path / 'second'}")
    assert recorded(tmp_path / "second")["weights"]["data"] == "unknown"
