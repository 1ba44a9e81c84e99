"""Callbacks of a user's package, chosen like any other option."""

import json
import sys

import pytest
import torch

from fervid.schema.same_system import system_settings

PACKAGE = """
import pytorch_lightning as pl


class Count(pl.Callback):
    "Counts epochs."

    def __init__(self, step=1):
        self.step, self.epochs = step, 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1
        print(f"counted {self.epochs * self.step}")

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


class Greet(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        print("hello")
"""
WORDS = ("backbone=lenet", "finetune=full", "dataset.identities=6", "dataset.clips=1", "dataset.frames=2")
WORDS += ("trainer.max_epochs=2", "+trainer.enable_progress_bar=false", "logger=none")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The override for a folder with two options of the group callbacks."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "own_callbacks.py").write_text(PACKAGE)
    (tmp_path / "conf" / "callbacks").mkdir(parents=True)
    count = "count:\n  _target_: own_callbacks.Count\n  step: 10                 # what is counted at once\n"
    (tmp_path / "conf" / "callbacks" / "count.yaml").write_text(count)
    (tmp_path / "conf" / "callbacks" / "greet.yaml").write_text("greet: {_target_: own_callbacks.Greet}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield f"--config-dir={tmp_path / 'conf'}"
    sys.modules.pop("own_callbacks", None)


def test_help_lists_and_explains_callbacks(folder, fervid_train, capsys):
    fervid_train(folder, "callbacks=count", "--help")
    printed = capsys.readouterr().out
    assert "callbacks: count, greet, none" in printed
    assert "# what is counted at once" in printed


def test_several_callbacks_run_and_keep_their_state(folder, fervid_train, tmp_path, capsys):
    run = tmp_path / "run"
    fervid_train(folder, *WORDS, "callbacks=[count,greet]", f"hydra.run.dir={run}")
    printed = capsys.readouterr().out
    assert "hello" in printed
    assert "counted 20" in printed
    recorded = json.loads((run / "results.json").read_text())["config"]["callbacks"]
    assert recorded == {
        "count": {"_target_": "own_callbacks.Count", "step": 10},
        "greet": {"_target_": "own_callbacks.Greet"},
    }
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["callbacks"]["Count"] == {"epochs": 2}


def test_a_run_with_another_callback_is_another_run(folder, fervid_train, tmp_path, capsys):
    words = [folder, "-m", *WORDS, "seed=1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    fervid_train(*words, "callbacks=greet")
    capsys.readouterr()
    fervid_train(*words, "callbacks=greet")
    assert "hello" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        fervid_train(*words, "callbacks=none")
    assert "already contains a finished run with other settings" in capsys.readouterr().err


def test_systems_with_other_callbacks_are_other_systems():
    with_count, with_greet = (
        {"callbacks": {"own": {"_target_": f"own_callbacks.{name}"}}} for name in ("Count", "Greet")
    )
    assert system_settings(with_count, {}) != system_settings(with_greet, {})
    assert system_settings(with_count, {}) != system_settings({"callbacks": {}}, {})


def test_object_that_is_not_a_callback_is_an_error(folder, fervid_train, tmp_path, capsys):
    with pytest.raises(SystemExit):
        fervid_train(folder, *WORDS, "callbacks=greet", "callbacks.greet._target_=builtins.dict")
    assert "callbacks.greet is a dict, not a callback" in capsys.readouterr().err


LIGHTNING = """
checkpoint:
  _target_: pytorch_lightning.callbacks.ModelCheckpoint
  dirpath: {folder}
  filename: own
  monitor: val/uar
  mode: max
stopping:
  _target_: pytorch_lightning.callbacks.EarlyStopping
  monitor: val/loss
bar:
  _target_: pytorch_lightning.callbacks.TQDMProgressBar
"""


def test_callbacks_of_lightning_can_be_used(folder, fervid_train, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)  # where fervid would show a progress bar of its own
    (tmp_path / "conf" / "callbacks" / "lightning.yaml").write_text(LIGHTNING.format(folder=tmp_path / "own"))
    words = [word for word in WORDS if "progress_bar" not in word]
    fervid_train(folder, *words, "callbacks=lightning", f"hydra.run.dir={tmp_path / 'run'}")
    assert (tmp_path / "own" / "own.ckpt").exists()
    printed = capsys.readouterr()
    assert "Epoch 1:" in printed.out + printed.err  # of the TQDMProgressBar, which counts from 0
