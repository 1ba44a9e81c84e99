"""Atomic writing of files."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest

from fervid.storage.atomic import (
    filling,
    remove_leftovers,
    scratch,
    truncate_partial_line,
    write_csv,
    write_text,
    writing,
)


def test_existing_file_survives_failed_write(tmp_path):
    write_text(tmp_path / "results.json", "old")

    def interrupted():
        with writing(tmp_path / "results.json") as partial:
            partial.write_text("new, half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("results.json", "old")]


@pytest.mark.parametrize("write", [write_text, lambda path, text: write_csv(path, pd.DataFrame({"x": [text]}))])
def test_existing_file_survives_full_disk(tmp_path, write):
    write(tmp_path / "file", "old")
    before = (tmp_path / "file").read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "file", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", before)]


def test_temporary_name_has_suffix_host_and_process(tmp_path):
    with writing(tmp_path / "faces.hashes.npy") as one, writing(tmp_path / "faces.hashes.npy") as other:
        assert one != other
        assert one.suffix == ".npy"
        assert str(os.getpid()) in one.name.split("-")
        assert socket.gethostname().split("-")[0] in one.name
        for path in (one, other):
            path.write_text("x")


def test_folder_is_filled_only_after_everything_is_written(tmp_path):
    folder = tmp_path / "report"
    for name in ("tables/old.csv", "notes.txt", "report.md"):
        write_text(folder / name, "old")

    def failing():
        with filling(folder) as new:
            write_text(new / "report.md", "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert {path.name for path in folder.iterdir()} == {"tables", "notes.txt", "report.md"}
    assert (folder / "report.md").read_text() == "old"
    with filling(folder) as new:
        write_text(new / "tables" / "new.csv", "new")
        write_text(new / "report.md", "new")
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {"tables/new.csv": "new", "notes.txt": "old", "report.md": "new"}


WRITER = """
import sys
from fervid.storage.atomic import write_text
for number in range(300):
    write_text(sys.argv[1], sys.argv[2] * 100_000)
"""


def test_reader_never_sees_partial_file(tmp_path):
    path = tmp_path / "shared.json"
    write_text(path, "a" * 100_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter]) for letter in "ab"]
    read = 0
    while any(writer.poll() is None for writer in writers):
        text = path.read_text()
        assert text in ("a" * 100_000, "b" * 100_000)
        read += 1
    assert read > 100
    assert [writer.returncode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import sys, time
from fervid.storage.atomic import scratch, writing
with writing(sys.argv[1] + "/results.json") as file, scratch(sys.argv[1]) as folder:
    file.write_text("half")
    (folder / "file").write_text("half")
    print("here", flush=True)
    time.sleep(60)
"""


def test_only_leftovers_of_ended_processes_are_removed(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed, alive = (subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2))
    try:
        assert {process.stdout.readline() for process in (killed, alive)} == {b"here\n"}
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        of_killed, of_alive = ({p for p in tmp_path.iterdir() if f"-{q.pid}-" in p.name} for q in (killed, alive))
        assert len(of_killed) == len(of_alive) == 2
        remove_leftovers(tmp_path)
        assert set(tmp_path.iterdir()) == of_alive
    finally:
        alive.kill()
        alive.communicate()


def test_leftovers_of_another_host_are_removed_after_a_day(tmp_path):
    new, old = tmp_path / ".fervid-partial-elsewhere-1-0123abcd.npy", tmp_path / ".fervid-partial-elsewhere-2-0123abcd"
    new.write_text("")
    old.mkdir()
    (old / "file").write_text("")
    os.utime(old, (0, time.time() - 90_000))
    foreign = tmp_path / ".fervid-partial-thoughts"  # a file of the user
    foreign.write_text("")
    os.utime(foreign, (0, 0))
    with scratch(tmp_path):
        pass
    assert set(tmp_path.iterdir()) == {new, foreign}


def test_partial_line_is_truncated(tmp_path):
    path = tmp_path / "journal"
    truncate_partial_line(path)
    for content, whole in ((b"", b""), (b"a\nb", b"a\n"), (b"a\nb\n", b"a\nb\n"), (b"a\n\0\0\0", b"a\n"), (b"a", b"")):
        path.write_bytes(content)
        truncate_partial_line(path)
        assert path.read_bytes() == whole
