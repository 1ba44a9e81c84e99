"""Completion of settings, and of whole lines in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fervid.cli.completion import complete_setting

# What bash does when Tab is pressed: it sets the variables and calls the function that was registered for fervid.
SCRIPT = """
eval "$(register-python-argcomplete fervid)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete fervid
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path):
    """The words that bash offers at the end of a line."""
    script = tmp_path / "bin" / "fervid"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m fervid "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(script.parent), str(Path(sys.executable).parent), os.environ["PATH"]])

    def ask(line):
        bash = [shutil.which("bash"), "--norc", "-c", SCRIPT, "bash", line]
        environment = {**os.environ, "PATH": path}
        return subprocess.run(bash, capture_output=True, text=True, cwd=tmp_path, env=environment).stdout.splitlines()

    return ask


def test_commands_are_completed(complete):
    assert complete("fervid ex") == ["explain", "export"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fervid train backbone=res", ["resnet18", "resnet50"]),  # bash parts words at "="
        ("fervid train -m optimizer=sgd,rm", ["sgd,rmsprop "]),
        ("fervid train optimizer=sgd optimizer.m", ["optimizer.momentum="]),  # Adam has none
        ("fervid search --trials 5 optimizer=sgd_", ["sgd_plain "]),
        ("fervid search --h", ["--help", "--hours"]),
    ],
)
def test_lines_are_completed(complete, line, words):
    assert complete(line) == words


@pytest.mark.parametrize(
    ("command", "typed", "words", "completed"),
    [
        ("train", "trainer.dev", ["seed=1"], ["trainer.devices="]),
        ("train", "finetune.phases.1.e", ["finetune=two_phase"], ["finetune.phases.1.epochs="]),
        ("train", "optimizer=sgd,rm", [], ["optimizer=sgd,rmsprop"]),
        ("train", "callbacks=[none,no", [], ["callbacks=[none,none"]),
        ("prepare", "detector=y", [], ["detector=yunet"]),
        ("export", "backb", [], []),  # the command chooses no backbone
        ("predict", "annotate=", [], ["annotate=false", "annotate=true"]),
        ("train", "dataset.batch_size=", [], ["dataset.batch_size=32"]),
        ("train", "finetune.monitor=", [], ["finetune.monitor=val/uar"]),
        ("report", "trust=", [], []),
        ("train", "no_such_setting=", [], []),
    ],
)
def test_settings_are_completed(tmp_path, monkeypatch, command, typed, words, completed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")  # offered only for settings that contain a path
    assert sorted(complete_setting(command, typed, words)) == completed


@pytest.mark.parametrize(
    ("command", "typed", "words"),
    [
        ("report", "runs=", []),
        ("evaluate", "run=[a_folder/a_run,", []),
        ("train", "dataset.root=", ["dataset=ravdess"]),
        ("train", "dataset.csv=", ["dataset=image_folder"]),
        ("train", "dataset.prepared_dir=", ["dataset=ravdess"]),
        ("train", "split.path=", ["split=csv"]),
        ("train", "backbone.weights=", ["backbone=resnet18"]),
        ("train", "ckpt_path=", []),
        ("predict", "source=", []),
        ("export", "folder=", []),
    ],
)
def test_file_names_complete_paths(tmp_path, monkeypatch, command, typed, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_folder" / "a_run").mkdir(parents=True)
    assert complete_setting(command, f"{typed}a_f", words) == [f"{typed}a_folder/"]


def test_paths_are_completed(complete, tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "other").mkdir()
    assert complete("fervid report runs=runs/m") == ["runs/mine/"]


def test_options_from_a_config_dir_are_completed(complete, tmp_path):
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "portraits.yaml").write_text("_target_: a.Corpus\nroot: null\n")
    assert complete("fervid train --config-dir conf dataset=por") == ["portraits "]
