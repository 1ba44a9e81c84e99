"""Opening and auditing runs loads neither what trains nor what draws."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pytorch_lightning", "tensorboard", "matplotlib", "fervid.train", "fervid.callbacks")


@pytest.mark.parametrize("module", ["runs.run", "runs.record", "runs.printing", "runs.finished", "audit", "search"])
def test_what_opens_or_audits_a_run_is_light(module):
    code = f"import sys, fervid.{module}; print([name for name in {HEAVY} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr


def test_a_network_is_opened_without_the_trainer():
    code = (
        "import sys, fervid.runs.load; print([name for name in ('tensorboard', 'fervid.train') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr
