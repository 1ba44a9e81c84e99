"""On SIGTERM every command exits with code 143 and one sentence on how to resume."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest
import pytorch_lightning as pl
import torch
from hydra.core.global_hydra import GlobalHydra
from joblib import Parallel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rendered_corpora.ravdess import write_ravdess
from rich.console import Console
from rich.progress import Progress

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false", "logger=none", "trainer.max_epochs=2"]


@pytest.fixture
def terminate(monkeypatch):
    """Sends this process SIGTERM when a function of a library is called for the n-th time."""

    def when(owner, name, call=1):
        calls, wrapped = [], getattr(owner, name)

        def kill(*args, **kwargs):
            calls.append(name)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)  # so that the handler runs
            return wrapped(*args, **kwargs)

        monkeypatch.setattr(owner, name, kill)

    return when


@pytest.fixture
def ends_with_143(monkeypatch, capfd):
    """Runs a command that is terminated and returns its output."""

    def run(name, *words):
        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", [f"fervid.{name}", *words])
        with pytest.raises(SystemExit) as stop:
            import_module(f"fervid.{name}").main()
        text = capfd.readouterr()
        assert stop.value.code == 143
        assert "Traceback" not in text.err
        return text.out + text.err

    return run


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (torch.optim.Adam, "step", 4),
        (pl.Trainer, "test", 1),
        (FigureCanvasAgg, "draw", 1),
    ],
    ids=["training", "testing", "drawing"],
)
def test_interrupted_training_prints_command_to_resume(ends_with_143, terminate, tmp_path, cache, owner, name, call):
    terminate(owner, name, call)
    text = ends_with_143("train", *SMOKE, f"cache_dir={cache}", f"hydra.run.dir={tmp_path}/run")
    assert f"hydra.run.dir={tmp_path}/run ckpt_path={tmp_path}/run/checkpoints/last.ckpt\n" in text
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("words", [["dataset=synthetic"], ["dataset=ravdess", "dataset.root=raw"]])
def test_sigterm_while_faces_are_prepared(ends_with_143, terminate, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    if "dataset=ravdess" in words:
        write_ravdess(tmp_path / "raw", subjects=(1, 2), emotions=["sad"], frames=2, width=160, height=120)
    terminate(Parallel, "__call__")  # the workers that render or crop
    text = ends_with_143("train", *words, "logger=none", f"cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run")
    assert "the same command" in text
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_interrupted_preparation_reports_progress(ends_with_143, terminate, tmp_path):
    write_ravdess(tmp_path / "raw", subjects=(1, 2), emotions=["sad"], frames=2, width=160, height=120)
    terminate(Progress, "advance")
    words = ["dataset=ravdess", f"dataset.root={tmp_path}/raw", f"cache_dir={tmp_path}/cache"]
    text = ends_with_143("prepare", *words, f"hydra.run.dir={tmp_path}/run")
    assert "of 4 files: run the same command again to resume" in text


def test_interrupted_sweep_starts_no_further_job(ends_with_143, terminate, tmp_path, cache):
    terminate(torch.optim.Adam, "step", 4)
    text = ends_with_143("train", "-m", *SMOKE, "seed=1,2", f"cache_dir={cache}", f"hydra.sweep.dir={tmp_path}")
    assert "run the same command again" in text
    assert not (tmp_path / "1").exists()


def test_interrupted_search_starts_no_further_trial(terminate, tmp_path, cache, monkeypatch, capfd):
    from fervid import search

    terminate(torch.optim.Adam, "step", 4)
    words = ["--trials=3", f"--folder={tmp_path}", "optimizer.lr=interval(0.001,0.1)", f"cache_dir={cache}"]
    monkeypatch.setattr(sys, "argv", ["fervid.search", *SMOKE, *words])
    with pytest.raises(SystemExit) as stop:
        search.main()
    assert stop.value.code == 143
    assert "run the same command again" in capfd.readouterr().out
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("evaluate", "run"),
        ("explain", "run"),
        ("predict", "run"),
        ("export", "run"),
        ("report", "runs"),
        ("audit", None),
        ("baseline", None),
        ("demo", "run"),
    ],
)
def test_sigterm_during_other_commands(ends_with_143, terminate, trained, cache, tmp_path, name, setting):
    # A copy, since explain writes into the folder of the run.
    words = [] if setting is None else [f"{setting}={shutil.copytree(trained.folder, tmp_path / 'copy')}"]
    if setting is None:
        words += ["dataset.identities=6", "dataset.clips=1", "dataset.frames=2", f"cache_dir={cache}"]
    elif name in ("evaluate", "explain"):
        words.append(f"cache_dir={trained.cache}")
    elif name == "predict":
        words.append(f"source={trained.corpus}")
    elif name == "export":
        words.append(f"folder={tmp_path}/export")
    terminate(*(importlib.util, "find_spec") if name == "demo" else (Console, "print"))
    text = ends_with_143(name, *words, f"hydra.run.dir={tmp_path}/out")
    assert "run the same command again" in text


IMPORTING = """
import os, signal, sys

class Terminate:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Terminate())
from fervid.train import main
main()
"""


def test_sigterm_while_libraries_are_imported(tmp_path):
    words = [sys.executable, "-c", IMPORTING, *SMOKE, f"hydra.run.dir={tmp_path}/run"]
    process = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert process.returncode == 143
    assert process.stderr == "fervid: interrupted: run the same command again.\n"
