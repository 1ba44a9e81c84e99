import gc

from fervid.cli.folders import alone
from fervid.cli.imports import importing


def test_imports_are_not_searched_for_garbage_and_are_put_aside_once(monkeypatch):
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: len(frozen))
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with importing():  # of the next job of a sweep, whose objects must not stay
        pass
    assert frozen == [False]


def test_a_lock_that_a_killed_process_left_does_not_block(tmp_path):
    (tmp_path / ".lock").write_text("left by a kill")
    with alone(tmp_path):
        pass
