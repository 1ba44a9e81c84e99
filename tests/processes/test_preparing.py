"""The other ranks wait while the first rank prepares the corpus, but no longer."""

import os
import subprocess
import sys
import threading
import time

import pytest

from fervid.errors import InputError
from fervid.processes import preparing
from fervid.processes.preparing import heartbeat, heartbeat_file, wait_for_first


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(preparing, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(preparing, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(preparing, "TIMEOUT_SECONDS", 1.0)


@pytest.fixture
def first(tmp_path):
    """Starts a thread that acts as the first rank; returns its heartbeat file."""
    sign, threads = heartbeat_file(tmp_path, {"seed": 1}), []

    def start(work, sign=sign):
        def run():
            time.sleep(0.2)  # so that the other ranks check first
            try:
                with heartbeat(sign):
                    work()
            except OSError:
                pass

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return sign

    yield start
    for thread in threads:
        thread.join()


def prepare_slowly(file):
    time.sleep(2)  # longer than the timeout
    file.write_text("prepared")


def fail():
    raise OSError("the disk is full")


def test_ranks_wait_while_first_rank_works(first, tmp_path, caplog):
    file = tmp_path / "corpus"
    with caplog.at_level("INFO", logger="fervid"):
        wait_for_first(file.exists, first(lambda: prepare_slowly(file)))
        wait_for_first(file.exists, tmp_path / "nothing")
    assert caplog.messages == ["waiting for the first process of this run, which prepares the corpus."]


def test_ranks_end_with_reason_of_failed_first_rank(first):
    with pytest.raises(InputError, match=r"the first process of this run failed \(the disk is full\): see its output"):
        wait_for_first(lambda: False, first(fail))


def test_failure_of_earlier_start_is_ignored(first, tmp_path):
    file, sign = tmp_path / "corpus", heartbeat_file(tmp_path, {"seed": 1})
    with pytest.raises(OSError, match="the disk is full"), heartbeat(sign):
        fail()
    wait_for_first(file.exists, first(lambda: prepare_slowly(file)))


def test_files_not_visible_on_this_machine_are_an_error(first, tmp_path):
    with pytest.raises(InputError, match=rf"has prepared the corpus, but its files are not in {tmp_path} on "):
        wait_for_first(lambda: False, first(lambda: None))


def test_missing_first_rank_is_an_error(tmp_path):
    with pytest.raises(
        InputError, match=r"there has been no sign of the first process of this run .*: give cache_dir="
    ):
        wait_for_first(lambda: False, heartbeat_file(tmp_path, {}))


def test_simultaneous_runs_have_separate_heartbeat_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    signs = [heartbeat_file(tmp_path, {"seed": 1}), heartbeat_file(tmp_path, {"seed": 2})]
    assert signs[0] == heartbeat_file(tmp_path, {"seed": 1})
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert len({*signs, heartbeat_file(tmp_path, {"seed": 1})}) == 3


IMPATIENT = """
from fervid.processes import preparing
from fervid.train import main

preparing.HEARTBEAT_SECONDS, preparing.TIMEOUT_SECONDS = 0.5, 10.0
main()
"""


@pytest.mark.slow
def test_slurm_tasks_end_when_first_is_killed_during_preparation(tmp_path, request):
    """Its parent, slurmstepd, keeps running."""
    words = ["experiment=smoke", "logger=none", "trainer.devices=2", "dataset.identities=500", "dataset.clips=9"]
    tasks = []
    for rank in "01":
        slurm = {"SLURM_JOB_ID": "1234", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NODEID": "0"}
        tasks.append(
            subprocess.Popen(
                [sys.executable, "-c", IMPATIENT, *words, f"cache_dir={tmp_path / 'cache'}"],
                env=os.environ | slurm | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank},
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    request.addfinalizer(lambda: [task.kill() for task in tasks])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("cache/.rank-*.json")) or not list(tmp_path.glob("cache/*/.fervid-partial-*")):
        assert time.monotonic() < deadline
        assert tasks[0].poll() is None
        time.sleep(0.1)
    time.sleep(5)  # so that the other task has seen its heartbeat
    tasks[0].kill()
    printed = tasks[1].communicate(timeout=120)[1]
    tasks[0].communicate()
    assert tasks[1].returncode == 1
    assert "the first process of this run was killed or its machine failed" in printed
    assert "Traceback" not in printed
