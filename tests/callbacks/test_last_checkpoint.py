from pathlib import Path
from types import SimpleNamespace

from fervid.callbacks import LastCheckpoint, last_checkpoint


class Clock:
    """A simulated clock: an epoch takes one second, a checkpoint ``takes`` seconds."""

    def __init__(self, takes):
        self.now, self.takes = 0.0, takes

    def perf_counter(self):
        return self.now


def written_epochs(monkeypatch, takes, epochs=100, stop_after=None, begin=0, max_steps=-1):
    clock, saved = Clock(takes), []

    def save(path):
        clock.now += clock.takes
        saved.append(trainer.current_epoch + 1)

    monkeypatch.setattr(last_checkpoint, "time", clock)
    alone = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
    trainer = SimpleNamespace(
        current_epoch=begin,
        max_epochs=epochs,
        max_steps=max_steps,
        should_stop=False,
        save_checkpoint=save,
        strategy=alone,
    )
    last = LastCheckpoint(Path("last.ckpt"))
    last.on_train_start(trainer, None)
    assert last.epochs == begin
    for epoch in range(begin, stop_after or epochs):
        trainer.current_epoch, trainer.should_stop = epoch, epoch + 1 == stop_after
        trainer.global_step = 10 * (epoch + 1)
        clock.now += 1
        last.on_train_epoch_end(trainer, None)
        assert last.epochs == (saved[-1] if saved else begin)
    return saved


def test_fast_checkpoint_is_written_after_every_epoch(monkeypatch):
    assert written_epochs(monkeypatch, takes=0.01) == list(range(1, 101))


def test_slow_checkpoints_are_throttled_and_last_epoch_is_written(monkeypatch):
    assert written_epochs(monkeypatch, takes=1) == [1, 42, 83, 100]
    assert written_epochs(monkeypatch, takes=1, stop_after=70) == [1, 42, 70]


def test_resumed_run_counts_epochs_of_its_checkpoint(monkeypatch):
    assert written_epochs(monkeypatch, takes=1, begin=60) == [61, 100]


def test_checkpoint_is_written_after_max_steps(monkeypatch):
    assert written_epochs(monkeypatch, takes=1, stop_after=None, epochs=50, max_steps=300)[:3] == [1, 30, 31]
