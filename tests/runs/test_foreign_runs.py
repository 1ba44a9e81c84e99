"""Untrusted run folders cannot read secrets or other folders, and fail with one sentence."""

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from copy import deepcopy
from importlib import import_module

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import fervid
from fervid.errors import InputError
from fervid.runs.load import reopen_corpus
from fervid.runs.run import open_run

SECRET = "the-token-of-this-machine"
COMMANDS = ("predict", "evaluate", "explain", "export", "demo", "report")


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.folder, tmp_path / "run")


@pytest.fixture
def command(trained, tmp_path, monkeypatch, capsys):
    """Runs a command on a run folder with further arguments; returns its exit code and its output."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("face.png", np.full((40, 40, 3), 128, dtype=np.uint8))
    out, cache = f"hydra.run.dir={tmp_path / 'out'}", f"cache_dir={trained.cache}"
    words = {
        "predict": ["source=face.png", "detector=none", out],
        "evaluate": ["resamples=100", cache, out],
        "explain": ["frames=random", "max_faces=2", cache],
        "export": ["format=safetensors"],
        "demo": [],
        "report": ["resamples=100", out],
    }

    def call(name, run, *more):
        GlobalHydra.instance().clear()
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        where = "runs" if name == "report" else "run"
        monkeypatch.setattr("sys.argv", [f"fervid.{name}", f"{where}={run}", *words[name], *more])
        try:
            import_module(f"fervid.{name}").main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def edit(run, change):
    path = run / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))


def everything_written(*folders):
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def put(dotted, value):
    *path, last = dotted.split(".")

    def change(results):
        place = results
        for name in path:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        place[int(last) if isinstance(place, list) else last] = value

    return change


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


CANARY = """
import os
from pathlib import Path

def touch(*args, **kwargs):
    Path(os.environ["CALLED"]).touch()
"""


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """The file that ``canary.touch`` writes when something calls it."""
    (tmp_path / "canaries").mkdir()
    (tmp_path / "canaries" / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(tmp_path / "canaries")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    yield tmp_path / "called"
    sys.modules.pop("canary", None)


def nodes(config, path=()):
    """Paths of all values of a nested configuration."""
    entries = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for name, value in entries:
        yield (*path, name)
        yield from nodes(value, (*path, name))


@pytest.mark.parametrize("called", [{"_target_": "canary.touch"}, {"_target_": "canary.touch", "_partial_": False}])
def test_no_value_of_a_stored_configuration_can_call_code(called, run, trained, canary):
    results = open_run(run).results
    paths = list(nodes(results["config"]))
    assert len(paths) > 60
    opened = 0
    for path in paths:
        changed = deepcopy(results)
        node = changed["config"]
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = called
        (run / "results.json").write_text(json.dumps(changed))
        for attempt in (
            lambda: fervid.load_run(run),
            lambda changed=changed: reopen_corpus(run, changed, trained.cache, trained.corpus),
        ):
            with suppress(InputError):
                attempt()
                opened += 1
            assert not canary.exists(), path
    assert opened > 20


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_calls_what_the_size_of_pictures_names(name, run, canary, command, monkeypatch):
    monkeypatch.setattr("fervid.demo.page.build_page", lambda *_, **__: sys.exit(0))
    edit(run, put("config.backbone.image_size", {"_target_": "canary.touch"}))
    command(name, run)
    assert not canary.exists()


# Packages that the user trusts

PACKAGE = """
import os
from pathlib import Path

from fervid.models.paper_backbones import LeNet

Path(os.environ["IMPORTED"]).touch()

class Net(LeNet):
    pass

class _Hidden(LeNet):
    pass

class Shell:
    def __init__(self, command):
        Path(os.environ["IMPORTED"]).with_name(command).touch()

def start(command):
    Shell(command)
"""


@pytest.fixture
def own_net(run, tmp_path, monkeypatch):
    """A run with a backbone of a user's package, and the file that the package writes on import."""
    (tmp_path / "site" / "own_net").mkdir(parents=True)
    (tmp_path / "site" / "own_net" / "__init__.py").write_text(PACKAGE)
    monkeypatch.setenv("IMPORTED", str(tmp_path / "imported"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    edit(run, put("config.backbone._target_", "own_net.Net"))
    yield run, tmp_path / "imported"
    sys.modules.pop("own_net", None)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_opens_a_run_of_a_trusted_package(name, own_net, command, monkeypatch):
    monkeypatch.setattr("fervid.demo.page.build_page", lambda *_, **__: sys.exit(0))  # by then the run has been opened
    code, printed = command(name, own_net[0], "trust=own_net")
    assert code == 0, printed
    assert own_net[1].exists()


def test_python_opens_a_run_of_a_trusted_package(own_net):
    run, imported = own_net
    for opened in (fervid.load_run, fervid.Predictor):
        with pytest.raises(InputError, match=r"refers to own_net\.Net, .* give trust=<its package>"):
            opened(run)
    assert not imported.exists()
    for trust in ("own_net", ["torch", "own_net"]):
        assert type(fervid.load_run(run, trust=trust).backbone).__name__ == "Net"
        assert fervid.Predictor(run, trust=trust).class_names == ["angry", "happy", "sad"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("own_net.start", "is not a corpus, detector, sample, network or split"),
        ("own_net.Shell", "is not a corpus, detector, sample, network or split"),
        ("own_net._Hidden", "names that begin with _ are refused"),
        ("own_net.__main__.Net", "names that begin with _ are refused"),
    ],
)
def test_other_code_of_a_trusted_package_is_not_called(path, sentence, own_net, tmp_path):
    run, imported = own_net
    (tmp_path / "site" / "own_net" / "__main__.py").write_text("import own_net; own_net.start('started')")
    edit(run, put("config.head", {"_target_": path, "command": "started"}))
    with pytest.raises(InputError, match=sentence):
        fervid.load_run(run, trust="own_net")
    assert not imported.with_name("started").exists()


@pytest.mark.parametrize("trust", ["own", "own_net.Net", "net", "Own_net", ["own", "own_net2"]])
def test_trusted_package_must_match_whole_name(trust, own_net):
    run, imported = own_net
    with pytest.raises(InputError, match="if you know and trust this code"):
        fervid.load_run(run, trust=trust)
    assert not imported.exists()


@pytest.mark.parametrize("trust", ["", ".", "own_net.", "own-net", "own net", "../own_net", 3, [None], "1own"])
def test_invalid_package_name_is_rejected(trust, own_net):
    with pytest.raises(InputError, match="is not a package name"):
        fervid.load_run(own_net[0], trust=trust)


def test_code_only_imported_by_trusted_package_is_rejected(own_net, tmp_path):
    run, _ = own_net
    edit(run, put("config.head", {"_target_": "own_net.os.system", "command": f"touch {tmp_path / 'called'}"}))
    with pytest.raises(InputError, match=r"own_net\.os\.system, which is not defined in own_net"):
        fervid.load_run(run, trust="own_net")
    edit(run, put("config.head", {"_target_": "own_net.LeNet"}))
    with pytest.raises(InputError, match=r"own_net\.LeNet, which is not defined in own_net"):
        fervid.load_run(run, trust="own_net")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("extra", [{"_args_": [1]}, {"_call_": "x"}])
def test_other_hydra_keywords_are_rejected_with_trusted_package(extra, own_net):
    run, imported = own_net
    edit(run, put("config.backbone", {"_target_": "own_net.Net", "image_size": 28} | extra))
    with pytest.raises(InputError, match="which fervid never writes"):
        fervid.load_run(run, trust="own_net")
    assert not imported.exists()


def test_untrusted_code_is_rejected_before_trusted_package_is_imported(own_net):
    run, imported = own_net
    edit(run, put("config.head._target_", "os.system"))
    with pytest.raises(InputError, match=r"refers to os\.system"):
        fervid.load_run(run, trust="own_net")
    assert not imported.exists()


def test_missing_trusted_package_is_one_sentence(own_net, command):
    run, _ = own_net
    edit(run, put("config.backbone._target_", "not_there.Net"))
    for name in ("predict", "report"):
        code, printed = command(name, run, "trust=not_there")
        assert (code, "cannot be imported" in printed, "Traceback" in printed) == (1, True, False), printed
