"""Runs ``python -m fervid.evaluate`` on copies of a trained run."""

import json
import shutil

import pytest

RESAMPLES = "resamples=100"


@pytest.fixture
def fervid_evaluate(fervid_command, trained, tmp_path, monkeypatch):
    """Runs the command with the cache of the run and returns the output folder; by default without figures."""

    def run(*words, name="out", drawn=False):
        if not drawn:
            monkeypatch.setattr("fervid.evaluate.evaluation.compare", lambda *runs, **options: [])
        fervid_command("evaluate", RESAMPLES, *words, f"cache_dir={trained.cache}", f"hydra.run.dir={tmp_path / name}")
        return tmp_path / name

    return run


@pytest.fixture
def copy(trained, tmp_path):
    """Copies the run with changed results."""

    def make(name, **changes):
        folder = tmp_path / name
        shutil.copytree(trained.folder, folder)
        results = json.loads((folder / "results.json").read_text())
        for key, value in changes.items():
            *path, last = key.split("__")
            part = results
            for step in path:
                part = part[step]
            part[last] = value
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return make
