"""Output to consoles with any character set and to pipes, and the text of --help."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fervid.audit import main
from fervid.cli.settings_help import settings_help
from fervid.schema.config_folder import CONFIG_FOLDER, use_config_folders

SMOKE = ["experiment=smoke", "logger=none", "trainer.max_epochs=2", "split.val=0.34", "split.test=0.34"]


def run(*words, cwd, **variables):
    environment = {**os.environ, **variables}
    process = subprocess.run([sys.executable, "-m", *words], capture_output=True, cwd=cwd, env=environment)
    return process.returncode, process.stdout, process.stderr


@pytest.fixture(scope="module")
def cyrillic(tmp_path_factory):
    """Pictures of two emotions with Cyrillic names."""
    import cv2
    import numpy as np

    root = tmp_path_factory.mktemp("corpus")
    for number, emotion in enumerate(("радость", "грусть")):
        (root / emotion).mkdir()
        for person in range(6):
            cv2.imwrite(str(root / emotion / f"p{person}__1.png"), np.full((32, 32, 3), 60 + 100 * number, np.uint8))
    return root


@pytest.mark.parametrize("encoding", [pytest.param("ascii", marks=pytest.mark.slow), "cp1252"])
def test_names_outside_the_consoles_character_set_are_escaped(cyrillic, tmp_path, encoding):
    words = ["dataset=image_folder", f"dataset.root={cyrillic}", "split=stratified", f"cache_dir={tmp_path / 'cache'}"]
    code, out, err = run("fervid.audit", *words, cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert code == 0, err
    assert b"\\u0440\\u0430" in out  # the first letters of радость
    assert "Traceback" not in err.decode(encoding)
    out.decode(encoding)
    code, _, err = run("fervid.train", "backbone=радость", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert code == 1
    assert b"Traceback" not in err
    assert b"\\u0440\\u0430" in err


def test_one_line_per_epoch_without_a_terminal(tmp_path):
    code, out, err = run("fervid.train", *SMOKE, f"cache_dir={tmp_path / 'cache'}", cwd=tmp_path)
    assert code == 0, err
    lines = [line for line in out.decode().splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(
            rf"epoch {number}/2; phase \w+; train loss \d+\.\d+, UAR \d+\.\d%; val loss \d+\.\d+, UAR \d+\.\d%; "
            r"\d+\.\d s(; at most \d+ s left)?",
            line,
        )
    assert "left" in lines[0]
    assert "left" not in lines[1]
    for left_by_a_bar in (b"\r", b"\x1b", b"\n\n\n"):
        assert left_by_a_bar not in b"\n\n" + out + err


@pytest.mark.parametrize(
    "words",
    [
        *(["train", f"dataset={name}"] for name in ("image_folder", "ravdess", "video_folder", "ised", "enterface")),
        *([name, "dataset=ravdess"] for name in ("audit", "baseline", "prepare")),
        ["evaluate", "dataset=ravdess"],
        ["search", "dataset=ravdess", "optimizer=sgd,adam"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("root", [None, "nowhere"])
def test_missing_corpus_is_reported_before_torch_is_imported(tmp_path, words, root):
    sentence = f"dataset.root={root} is not a folder" if root else "needs dataset.root=<folder>"
    refused_before_torch(tmp_path, [*words, *([f"dataset.root={root}"] if root else [])], sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *(([name], "run is missing: give run=<folder") for name in ("explain", "export", "predict")),
        (["evaluate"], "nothing to evaluate: give run=<folder"),
        (["demo"], "there is no finished run in ./runs"),
        *(
            ([name, "run=nowhere"], "run=nowhere is not a folder")
            for name in ("demo", "evaluate", "explain", "export", "predict")
        ),
        (["explain", "run=empty"], "run=empty contains no finished run"),
        (["evaluate", "run=[done,empty]"], "run=empty contains no finished run"),
        (["predict", "run=done"], "source is missing"),
        (["explain", "run=done", "root=nowhere"], "root=nowhere does not exist"),
        (["evaluate", "run=done", "root=nowhere"], "root=nowhere does not exist"),
        (["train", "backbone.weights=nowhere.pth"], "backbone.weights=nowhere.pth is not a file"),
        *(
            (
                [name, "identity=face_vit_tiny", "identity.backbone.weights=no.pt"],
                "backbone.weights=no.pt is not a file",
            )
            for name in ("audit", "train")
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_missing_run_is_reported_before_torch_is_imported(tmp_path, words, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "results.json").touch()  # there, but not yet read
    refused_before_torch(tmp_path, words, sentence)


def refused_before_torch(folder, words, sentence):
    code = (
        "import sys; from importlib import import_module; sys.argv[0] = 'fervid'\n"
        "try: import_module('fervid.' + sys.argv.pop(1)).main()\n"
        "finally: print('torch' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=folder)
    assert process.returncode == 1
    assert sentence in process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stdout == "False\n"


def test_every_command_prints_the_version(tmp_path):
    import fervid

    for name in ("train", "search", "report"):
        code, out, _ = run(f"fervid.{name}", "--version", cwd=tmp_path)
        assert (code, out.decode().strip()) == (0, f"fervid {fervid.__version__}")


def test_search_has_its_own_help(tmp_path):
    code, out, _ = run("fervid.search", "--help", cwd=tmp_path)
    assert code == 0
    assert {"--trials", "--hours", "--folder"} <= set(out.decode().replace(",", " ").split())


def test_help_explains_each_setting(tmp_path):
    code, out, _ = run("fervid.train", "--help", "dataset=ravdess", "backbone=vgg16", cwd=tmp_path)
    settings = out.decode().split("== Settings")[1].split("Examples:")[0]
    assert code == 0
    for name in (
        "cache_gb",
        "cached_views",
        "seed",
        "batch_size",
        "image_size",
        "last_block",
        "lr",
        "precision",
        "val",
    ):
        assert re.search(rf"^ *{name}: .*# \w", settings, flags=re.MULTILINE), name
    assert re.search(r"lr_factor: times optimizer\.lr", settings)
    assert "features, shared by all runs" in settings


def test_help_lists_the_available_options(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("_target_: a.Corpus\nroot: null  # where it lies\n")
    try:
        use_config_folders([str(tmp_path)])
        output = settings_help("audit", ["dataset=mine"])
        corpora = (
            "affectnet, ck_plus, crema_d, emodb, enterface, fer2013, ferplus, hf_faces, image_folder, ised, jaffe, "
            "kdef, mine, raf_db, ravdess, several, synthetic"
        )
        assert f"dataset: {corpora}, video_folder\n" in output
        assert re.search(r"root: null +# where it lies", output)
    finally:
        use_config_folders([])
    assert "mine" not in settings_help("audit", [])
    assert "paper: enterface, hf_faces, ised, ravdess, ravdess_multimodal\n" in settings_help("report", [])
    assert "synthetic" not in settings_help("prepare", [])
    assert "Choices" not in settings_help("export", [])  # it has none


@pytest.mark.parametrize("words", [["--config-dir=CONF", "--help"], ["--help", "-cd", "CONF"]])
def test_help_includes_the_config_dir(tmp_path, monkeypatch, capsys, words):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("_target_: a.Corpus\nroot: null  # where it lies\n")
    words = [word.replace("CONF", str(tmp_path)) for word in words]
    monkeypatch.setattr("sys.argv", ["fervid.audit", *words, "dataset=mine"])
    main()
    output = capsys.readouterr().out
    assert "== Choices (option=choice) ==" in output
    assert re.search(r"root: null +# where it lies", output)


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(CONFIG_FOLDER).glob("*.yaml")))
def test_help_describes_the_command_and_its_call(name):
    output = settings_help(name, [])
    assert f"python -m fervid.{name}" in output
    assert output.index("== Settings") < output.index("Examples:")
    assert "$" not in output.split("== Settings")[0]
