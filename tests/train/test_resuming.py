"""Runs that were interrupted, and checkpoints to resume from."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from fervid.cli import compose
from fervid.errors import InputError
from fervid.schema.config_folder import use_config_folders
from fervid.train.resuming import resume_command
from fervid.train.training import train

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false"]
FAST = [*SMOKE, "logger=none"]


def command(*words):
    return [sys.executable, "-m", "fervid.train", *words]


@pytest.mark.parametrize("content", [b"", b"rubbish", "best"])
def test_unusable_checkpoint_is_an_error(run, cache, tmp_path, content):
    folder, _, _ = run
    file = tmp_path / "broken.ckpt"
    file.write_bytes((folder / "checkpoints" / "best.ckpt").read_bytes() if content == "best" else content)
    with pytest.raises(InputError, match=r"broken\.ckpt"):
        train(compose("train", [*FAST, f"cache_dir={cache}", f"ckpt_path={file}"]), tmp_path / "run")


def test_ctrl_c_keeps_last_checkpoint_and_prints_how_to_resume(tmp_path):
    words = [
        *SMOKE,
        f"cache_dir={tmp_path / 'cache'}",
        "finetune.phases.0.epochs=900",
        "finetune.phases.0.patience=null",
        "trainer.max_epochs=900",
    ]
    folder = tmp_path / "run"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
    process = subprocess.Popen(
        command(*words, f"hydra.run.dir={folder}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0, out + err
    assert "interrupted" in out + err
    assert f"hydra.run.dir={folder} ckpt_path={folder}/checkpoints/last.ckpt\n" in out  # on one line, to copy it
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] >= 0
    assert not (folder / "results.json").exists()


def test_resume_command_includes_config_dir(tmp_path):
    try:
        use_config_folders([str(tmp_path)])
        command = resume_command(tmp_path / "run", ["optimizer=mine", "ckpt_path=before.ckpt"])
    finally:
        use_config_folders([])
    assert f"-m fervid.train --config-dir={tmp_path} optimizer=mine hydra.run.dir={tmp_path}/run ckpt_path=" in command


def test_resumed_run_has_same_results_as_uninterrupted_run(cache, tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    words = [*FAST, f"cache_dir={cache}", "finetune.phases.0.epochs=2", "finetune.phases.1.epochs=2"]
    train(compose("train", words), whole)
    train(compose("train", [*words, "trainer.max_epochs=3"]), parted)
    (parted / "results.json").unlink()
    train(compose("train", [*words, f"ckpt_path={parted}/checkpoints/last.ckpt"]), parted)
    one, other = (json.loads((folder / "results.json").read_text()) for folder in (whole, parted))
    assert one["metrics"] == other["metrics"]
    assert (whole / "predictions.csv").read_bytes() == (parted / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_run_killed_after_last_epoch_tests_best_weights(cache, tmp_path):
    words = [*FAST, "trainer.max_epochs=4", f"cache_dir={cache}"]
    train(compose("train", words), tmp_path)
    whole = json.loads((tmp_path / "results.json").read_text())
    assert whole["best_epoch"] < 4  # otherwise best and last would be the same
    (tmp_path / "results.json").unlink()
    train(compose("train", [*words, f"ckpt_path={tmp_path}/checkpoints/last.ckpt"]), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["metrics"] == whole["metrics"]


def test_checkpoint_of_another_network_is_an_error(run, cache, tmp_path):
    folder, _, _ = run
    words = [*FAST, f"cache_dir={cache}", "backbone=cnn", f"ckpt_path={folder}/checkpoints/last.ckpt"]
    with pytest.raises(InputError, match="belongs to another network"):
        train(compose("train", words), tmp_path)


def test_checkpoint_of_other_data_is_an_error(run, cache, tmp_path):
    """Otherwise the test could include subjects that the run was trained on."""
    folder, _, _ = run
    words = [*FAST, f"cache_dir={cache}", "split.seed=7", f"ckpt_path={folder}/checkpoints/last.ckpt"]
    with pytest.raises(InputError, match=r"other data or another split \(split\.seed=7 \(was \d+\)\)"):
        train(compose("train", words), tmp_path)


def test_checkpoint_without_run_identity_is_an_error(run, cache, tmp_path):
    folder, _, _ = run
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    del state["run"]
    torch.save(state, tmp_path / "nameless.ckpt")
    with pytest.raises(InputError, match=r"nameless\.ckpt does not record which data"):
        train(compose("train", [*FAST, f"cache_dir={cache}", f"ckpt_path={tmp_path}/nameless.ckpt"]), tmp_path / "run")


def test_changed_settings_are_a_warning(run, cache, tmp_path):
    folder, _, _ = run
    checkpoint = folder / "checkpoints" / "last.ckpt"
    more = torch.load(checkpoint, weights_only=True)["epoch"] + 2
    words = [*FAST, f"cache_dir={cache}", "optimizer.lr=0.0005", f"trainer.max_epochs={more}", "threads=2"]
    train(compose("train", [*words, f"ckpt_path={checkpoint}"]), tmp_path)
    warnings = json.loads((tmp_path / "results.json").read_text())["warnings"]
    [warning] = [text for text in warnings if "ckpt_path" in text]
    changed = rf'optimizer\.lr=0\.0005 \(was .*\), threads=2 \(was "auto"\), trainer\.max_epochs={more} \(was'
    assert re.search(f"different settings: {changed}", warning)
