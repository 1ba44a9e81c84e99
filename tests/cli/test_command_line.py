import fcntl
import gc
from pathlib import Path

import pytest
from filelock import FileLock

from fervid.cli.folders import alone
from fervid.cli.imports import importing
from fervid.errors import InputError


def test_imports_disable_garbage_collection_and_freeze_once(monkeypatch):
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: len(frozen))
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with importing():  # of the next job of a sweep, whose objects must not stay
        pass
    assert frozen == [False]


def test_stale_lock_file_does_not_block(tmp_path):
    (tmp_path / ".lock").write_text("left by a kill")
    with alone(tmp_path):
        pass


def test_lock_file_removed_while_opening_is_not_locked(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def flock_after_removal(fd, operation):  # its holder releases it between our open() and flock()
        if operation & fcntl.LOCK_EX and not removed:
            removed.append(fd)
            (tmp_path / ".lock").unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_removal)
    with pytest.raises(InputError, match="another process is using"), alone(tmp_path):
        pass
    with alone(tmp_path), pytest.raises(InputError, match="another process is using"), alone(tmp_path):
        pass


def test_releasing_a_lock_keeps_the_lock_of_the_next_process(tmp_path, monkeypatch):
    path, unlink = tmp_path / ".lock", Path.unlink
    following = FileLock(path)

    def unlink_and_be_followed(self, missing_ok=False):
        unlink(self, missing_ok)
        if not following.is_locked:
            following.acquire(timeout=0)

    with alone(tmp_path):
        monkeypatch.setattr(Path, "unlink", unlink_and_be_followed)
    with pytest.raises(InputError, match="another process is using"), alone(tmp_path):
        pass
    following.release()


@pytest.mark.parametrize("option", ["--cfg=job", "--info=all"])
def test_multirun_with_printed_configuration_is_refused_in_one_sentence(fervid_train, capfd, option):
    with pytest.raises(SystemExit) as stopped:
        fervid_train("-m", option, "optimizer=sgd,adam")
    assert stopped.value.code == 1
    assert capfd.readouterr().err == (
        "fervid: only one of --run, --multirun, --cfg, --info and --shell-completion can be used: to print the "
        "configuration of one job of a sweep, leave out --multirun and give one value per setting.\n"
    )
