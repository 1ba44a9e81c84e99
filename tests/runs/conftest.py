"""Fixtures of untrusted run folders: a copy of a finished run, and the commands that open it."""

import shutil
import signal
from importlib import import_module

import cv2
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra


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
        "explain": ["samples=random", "max_samples=2", cache],
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
