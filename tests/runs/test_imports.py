"""Opening and auditing runs imports neither training nor plotting libraries."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pytorch_lightning", "tensorboard", "matplotlib", "fervid.train", "fervid.callbacks")


@pytest.mark.parametrize("module", ["runs.run", "runs.record", "runs.printing", "runs.finished", "audit", "search"])
def test_opening_or_auditing_a_run_imports_no_heavy_libraries(module):
    code = f"import sys, fervid.{module}; print([name for name in {HEAVY} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr


def test_loading_a_network_does_not_import_the_trainer():
    code = (
        "import sys, fervid.runs.load; print([name for name in ('tensorboard', 'fervid.train') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr
