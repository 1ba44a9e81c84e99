"""How the command starts."""

import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def command(*words):
    return [sys.executable, "-m", "fervid.train", *words]


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_help_is_fast(words):
    """Measured in CPU seconds: 0.4 on an idle machine, while importing torch alone takes two."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(command(*words), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0
    assert "optimizer" in process.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.slow
def test_installed_wheel_includes_configuration(tmp_path):
    root, site = Path(__file__).parents[2], tmp_path / "site"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(root)]
    subprocess.run(build, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("fervid-*.whl"))) as wheel:
        wheel.extractall(site)
    names, packed = (
        {path.relative_to(conf).as_posix() for path in conf.rglob("*.yaml")}
        for conf in (root / "conf", site / "fervid/conf")
    )
    assert names == packed
    assert (site / "fervid" / "py.typed").exists()  # type checkers use the annotations of fervid
    words = [sys.executable, "-c", "from fervid.train import main; import fervid; print(fervid.__file__); main()"]
    process = subprocess.run(
        [*words, "--cfg", "job"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert process.stdout.startswith(str(site))
    assert "fervid.data.SyntheticDataModule" in process.stdout, process.stderr


def test_own_trainer_may_leave_out_entries(fervid_train, tmp_path, monkeypatch):
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "trainer" / "mine.yaml").write_text("accelerator: cpu\nenable_progress_bar: false\n")
    monkeypatch.chdir(tmp_path)  # the default run folder is named with trainer.devices
    words = ["backbone=lenet", "finetune=full", "finetune.phases.0.epochs=1", "logger=none", "dataset.identities=6"]
    fervid_train("--config-dir=conf", "trainer=mine", *words, "dataset.clips=1", "dataset.frames=2")
    assert len(list((tmp_path / "runs").glob("*/results.json"))) == 1
