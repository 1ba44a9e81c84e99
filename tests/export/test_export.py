"""The command fervid.export."""

import shutil

import pytest

from fervid import export


@pytest.fixture
def fervid_export(monkeypatch):
    def run(*words):
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["fervid.export", *map(str, words)])
        export.main()

    return run


def refusal(fervid_export, capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        fervid_export(*words)
    assert stopped.value.code == 1
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert len(lines) == 1, output.err
    return lines[0]


def test_command_writes_two_formats_and_prints_how_to_run_them(trained, tmp_path, fervid_export, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    fervid_export(f"run={run}", "format=[safetensors,onnx]")
    folder = run / "export"
    names = {"model.onnx", "model.safetensors", "run_onnx.py", "model_card.md"}
    assert {path.name for path in folder.iterdir()} == names
    output = capsys.readouterr()
    assert f"python {folder / 'run_onnx.py'} face.png" in output.out
    assert "The weights in model.safetensors require fervid" in output.out
    assert not output.err
    # A second export also writes the existing formats again, and the card lists all of them.
    fervid_export(f"run={run}", "format=onnx")
    assert {path.name for path in folder.iterdir()} == names
    assert "model.safetensors" in (folder / "model_card.md").read_text()
    assert not list(run.rglob(".fervid-partial-*"))


def test_invalid_settings_give_one_sentence(trained, tmp_path, fervid_export, capsys):
    assert "give run=<folder" in refusal(fervid_export, capsys)
    output = refusal(fervid_export, capsys, f"run={trained.folder}", "format=[onnx,tflite]", f"folder={tmp_path / 'x'}")
    assert output == "fervid: format=tflite is unknown: choose onnx, safetensors, or a list."
    assert "format=[] is unknown" in refusal(fervid_export, capsys, f"run={trained.folder}", "format=[]")
    assert "contains no finished run" in refusal(fervid_export, capsys, f"run={tmp_path}")
    assert "Did you mean format" in refusal(fervid_export, capsys, f"run={trained.folder}", "formats=onnx")
    assert not (tmp_path / "x").exists()
