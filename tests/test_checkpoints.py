import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fervid import checkpoints
from fervid.checkpoints import LastCheckpoint, WholeCheckpointIO


def test_what_stood_there_survives_a_full_disk(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"epoch": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            WholeCheckpointIO().save_checkpoint({"epoch": 2, "weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


class Clock:
    """Time as the test wants it: an epoch takes a second, a checkpoint ``takes`` seconds."""

    def __init__(self, takes):
        self.now, self.takes = 0.0, takes

    def perf_counter(self):
        return self.now


def written_epochs(monkeypatch, takes, epochs=100, stop_after=None):
    clock, saved = Clock(takes), []

    def save(path):
        clock.now += clock.takes
        saved.append(trainer.current_epoch + 1)

    monkeypatch.setattr(checkpoints, "time", clock)
    trainer = SimpleNamespace(current_epoch=0, max_epochs=epochs, should_stop=False, save_checkpoint=save)
    last = LastCheckpoint(Path("last.ckpt"))
    network = SimpleNamespace(parameters=lambda: [SimpleNamespace(nbytes=takes * checkpoints.DISK / 4)])
    last.on_train_start(trainer, network)
    for epoch in range(stop_after or epochs):
        trainer.current_epoch, trainer.should_stop = epoch, epoch + 1 == stop_after
        clock.now += 1
        last.on_train_epoch_end(trainer, None)
        assert last.epochs == (saved[-1] if saved else 0)
    return saved


def test_a_quick_checkpoint_is_written_after_every_epoch(monkeypatch):
    assert written_epochs(monkeypatch, takes=0.01) == list(range(1, 101))


def test_a_slow_one_costs_little_and_the_last_epoch_is_always_kept(monkeypatch):
    assert written_epochs(monkeypatch, takes=1) == [41, 82, 100]
    assert written_epochs(monkeypatch, takes=1, stop_after=70) == [41, 70]
