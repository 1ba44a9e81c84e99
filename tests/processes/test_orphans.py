"""Workers end when their parent does, and a sweep leaves no threads behind."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from rendered_corpora.ravdess import write_ravdess

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false", "trainer.max_epochs=1"]
LIMIT = 10  # seconds; by default joblib's workers wait for 300


def kill_once(process, ready):
    """Kills a command once ``ready`` and its workers exist; returns the processes that outlive it for long."""
    main, deadline = psutil.Process(process.pid), time.monotonic() + 120
    while not (ready() and len(main.children(recursive=True)) >= 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = main.children(recursive=True)
    process.kill()
    process.wait()
    deadline = time.monotonic() + LIMIT
    while (alive := [worker for worker in workers if runs(worker)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for worker in alive:
        worker.kill()
    return [worker.pid for worker in alive]


def runs(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_preparation_workers_end_with_parent(tmp_path):
    emotions = ["neutral", "happy", "sad", "angry"]
    write_ravdess(tmp_path / "raw", subjects=(1, 2, 3, 4), emotions=emotions, frames=30, width=320, height=240)
    words = ["dataset=ravdess", "dataset.root=raw", "dataset.frame_stride=1", "cache_dir=cache"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fervid.prepare", *words], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    journal = lambda: any(path.stat().st_size for path in tmp_path.glob("cache/prepared/*/progress.jsonl"))  # noqa: E731
    assert kill_once(process, journal) == []


def test_loader_workers_end_with_parent(tmp_path, cache):
    words = [*SMOKE[:-1], "trainer.max_epochs=9000", "finetune=full", "finetune.phases.0.epochs=9000", "logger=none"]
    words += ["finetune.phases.0.patience=null", "dataset.num_workers=2", f"cache_dir={cache}", "hydra.run.dir=run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fervid.train", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert kill_once(process, (tmp_path / "run" / "checkpoints" / "last.ckpt").exists) == []


def test_number_of_threads_does_not_grow_with_jobs(fervid_train, tmp_path):
    left = []
    for name, seeds in (("one", "1"), ("three", "1,2,3")):
        fervid_train("-m", *SMOKE, f"seed={seeds}", f"hydra.sweep.dir={tmp_path / name}")
        left.append(sorted(thread.name for thread in threading.enumerate()))
        assert len(list(tmp_path.glob(f"{name}/*/tensorboard/**/events*"))) == 2 * len(seeds.split(","))
    assert left[0] == left[1]
