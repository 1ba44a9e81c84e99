"""The examples run as their READMEs say, in a copy of their folder outside the clone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_LINES = {"own_corpus/portraits/__init__.py": 20, "own_backbone/tiny_net.py": 15}  # of code
OPTIONS = {
    "own_corpus": {"dataset": "portraits"},
    "own_backbone": {"backbone": "tiny_net"},
    "own_task": {"task": "intensity"},
    "own_parts": {
        **{"head": "max_pool", "callbacks": "gradient_norm", "augmentation": "posterise"},
        **{"logger": "csv", "trainer": "clipped"},
    },
}


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    monkeypatch.setenv("FERVID_CACHE", str(tmp_path / "cache"))

    def copy(name):
        ignored = shutil.ignore_patterns("__pycache__")
        return Path(shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=ignored))

    return copy


def run(script, folder):
    """Runs a shell script with this Python; gives all that it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def readme_script(folder):
    (script,) = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return script


@pytest.mark.parametrize("name", MAX_LINES)
def test_the_code_is_short(name):
    lines = [line for line in (EXAMPLES / name).read_text().splitlines() if line.strip()]
    assert len(lines) <= MAX_LINES[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_help_lists_the_options(name, fervid_command, capsys):
    fervid_command("train", f"--config-dir={EXAMPLES / name / 'conf'}", "--help")
    printed = capsys.readouterr().out
    for group, option in OPTIONS[name].items():
        assert re.search(rf"^{group}: .*\b{option}\b", printed, re.MULTILINE), group


@pytest.mark.slow
def test_own_corpus(copy_of):
    folder = copy_of("own_corpus")
    run(readme_script(folder), folder)
    assert pd.read_csv(folder / "runs" / "portraits" / "predictions.csv")["corpus"].unique().tolist() == ["portraits"]
    assert len(list(folder.glob("audits/*/audit.json"))) == 1
    assert len(list(folder.glob("predictions/*/faces.csv"))) == 1
    assert len(list(folder.glob("evaluations/*/report.html"))) == 1


@pytest.mark.slow
def test_own_backbone(copy_of, synthetic):
    folder = copy_of("own_backbone")
    Image.fromarray(synthetic(image_size=128).face_cache[[0]][0]).save(folder / "face.png")
    run(readme_script(folder), folder)
    (faces,) = folder.glob("predictions/*/faces.csv")
    assert pd.read_csv(faces)["source"].tolist() == ["face.png"]
    assert (folder / "runs" / "tiny_net" / "export" / "model.onnx").exists()


@pytest.mark.slow
def test_own_task(copy_of):
    folder = copy_of("own_task")
    run(readme_script(folder), folder)
    table = pd.read_csv(folder / "runs" / "intensity" / "predictions.csv")
    (reported,) = folder.glob("reports/*/tables/intensity.csv")
    error = (table["predicted"] - table["label"]).abs().mean()
    assert pd.read_csv(reported)["mean absolute error"].tolist() == [pytest.approx(error)]


@pytest.mark.slow
def test_own_parts(copy_of):
    folder = copy_of("own_parts")
    run(readme_script(folder), folder)
    curves = pd.read_csv(folder / "runs" / "own_parts" / "csv" / "metrics.csv")
    assert (curves["gradient_norm"].dropna() > 0).sum() == 2  # one an epoch
    assert len(list(folder.glob("evaluations/*/report.html"))) == 1


@pytest.mark.slow
def test_library_use(copy_of, tmp_path):
    shutil.copy(EXAMPLES / "library_use.py", tmp_path)
    printed = run("python library_use.py", tmp_path)
    assert re.search(r"UAR 0\.\d\d on frames, 0\.\d\d on clips", printed)
    assert (tmp_path / "library_use.ckpt").exists()


def test_missing_package_is_reported_before_the_corpus_is_prepared(copy_of):
    folder = copy_of("own_backbone")
    script = [str(Path(sys.executable).parent / "fervid"), "train", "--config-dir=conf", "backbone=tiny_net"]
    done = subprocess.run([*script, "hydra.run.dir=run"], cwd=folder, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 1
    expected = "tiny_net cannot be imported: install the package, or add its folder to PYTHONPATH."
    assert done.stderr == f"fervid: {expected}\n"
    assert not (folder.parent / "cache").exists()


def test_pictures_of_the_own_corpus_can_be_made_again(copy_of):
    folder = copy_of("own_corpus")
    run("python make_pictures.py pictures\npython make_pictures.py pictures", folder)
    pictures = list((folder / "pictures").iterdir())
    assert len(pictures) == 64
    assert {picture.suffix for picture in pictures} == {".png"}
