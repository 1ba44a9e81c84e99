"""Shell completion in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
        done = subprocess.run(
            [shutil.which("bash"), "--norc", "-c", SCRIPT, "bash", line],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return ask


def test_commands_are_completed(complete):
    assert complete("fervid ex") == ["explain", "export"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fervid train backbone=res", ["resnet18", "resnet50"]),  # bash parts words at "="
        ("fervid train -m optimizer=sgd,rm", ["sgd,rmsprop "]),
        ("fervid train optimizer=sgd optimizer.m", ["optimizer.momentum="]),  # Adam has none
        ("fervid train seed=1 trainer.dev", ["trainer.devices="]),
        ("fervid train finetune=two_phase finetune.phases.1.e", ["finetune.phases.1.epochs="]),
        ("fervid search --trials 5 optimizer=sgd_", ["sgd_plain "]),
        ("fervid search --h", ["--help", "--hours"]),
        ("fervid prepare detector=y", ["yunet "]),
        ("fervid export backb", [""]),  # it chooses no backbone
        ("fervid predict annotate=", ["true", "false"]),
    ],
)
def test_settings_are_completed(complete, line, words):
    assert complete(line) == words


def test_paths_are_completed(complete, tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "other").mkdir()
    assert complete("fervid report runs=runs/m") == ["runs/mine/"]


def test_options_from_a_config_dir_are_completed(complete, tmp_path):
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "portraits.yaml").write_text("_target_: a.Corpus\nroot: null\n")
    assert complete("fervid train --config-dir conf dataset=por") == ["portraits "]
