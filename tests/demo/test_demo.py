"""The command of the demo, from its settings to Ctrl-C."""

import importlib.util
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.global_hydra import GlobalHydra

from fervid import demo
from fervid.errors import InputError

pytestmark = pytest.mark.usefixtures("loops_swept_up")


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Runs ``python -m fervid.demo`` in an empty folder; signals stay the tests' own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)

    def run(*words):
        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["fervid.demo", *words])
        demo.main()

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "there is no finished run in ./runs: train one first"),
        (["run=nowhere"], "nowhere is not a folder"),
        (["run=nowhere", "frame_stride=0"], "frame_stride=0 is out of range"),
    ],
)
def test_invalid_settings_give_one_sentence(start, capsys, words, sentence):
    with pytest.raises(SystemExit):
        start(*words)
    assert sentence in capsys.readouterr().err


def test_missing_gradio_names_the_package(start, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    with pytest.raises(SystemExit):
        start()
    assert "pip install '.[demo]'" in capsys.readouterr().err


def test_newest_run_is_the_last_finished(trained, tmp_path):
    for age, name in enumerate(("new", "old")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "best.ckpt").touch()
        shutil.copy(trained.folder / "results.json", tmp_path / name)
        os.utime(tmp_path / name / "results.json", (time.time() - 100 * age,) * 2)
    (tmp_path / "evaluated").mkdir()  # leaves results without a network
    shutil.copy(trained.folder / "results.json", tmp_path / "evaluated")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{")
    assert demo.newest_run(tmp_path) == tmp_path / "new"
    with pytest.raises(InputError, match="no finished run"):
        demo.newest_run(tmp_path / "broken")


@pytest.mark.filterwarnings("ignore:unclosed (event loop|<socket):ResourceWarning")  # Gradio's server leaves them
def test_ctrl_c_closes_the_page_and_deletes_uploads(start, trained, capsys, monkeypatch):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    folders = []

    def press(seconds):
        raise KeyboardInterrupt

    def interrupted(config, folder):
        monkeypatch.setattr(demo, "time", SimpleNamespace(sleep=press))
        (folder / "upload.jpg").write_bytes(b"face")
        folders.append(folder)
        serve(config, folder)

    serve = demo.serve
    monkeypatch.setattr(demo, "serve", interrupted)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    start(f"run={trained.folder}", f"port={port}")
    output = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}" in output
    assert "Page closed" in output
    assert not folders[0].exists()
    assert list(Path().iterdir()) == []
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", port)) != 0
