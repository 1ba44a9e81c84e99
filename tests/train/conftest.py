"""A finished run shared by the tests of training."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """One run with both phases: its folder, and its terminal output."""
    folder = tmp_path_factory.mktemp("run") / "folder"
    command = [sys.executable, "-m", "fervid.train", "experiment=smoke", "+trainer.enable_progress_bar=false"]
    words = [f"hydra.run.dir={folder}", f"cache_dir={folder.parent / 'cache'}"]
    process = subprocess.run([*command, *words], capture_output=True, text=True, cwd=folder.parent)
    assert process.returncode == 0, process.stderr
    return folder, process.stdout, process.stderr
