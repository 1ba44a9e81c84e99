"""Preparation in parts, on several machines, and joining them."""

import json

import pandas as pd
import pytest
from filelock import FileLock
from rendered_corpora.ravdess import write_ravdess

from fervid.corpora import RAVDESS
from fervid.errors import InputError
from fervid.prepare.preparation import Part
from fervid.prepare.prepared_corpus import PreparedCorpus


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two subjects, three emotions: 10 clips."""
    root = tmp_path_factory.mktemp("ravdess")
    write_ravdess(root, emotions=["neutral", "happy", "sad"], frames=8, width=480, height=270)
    return root


def prepared(root, folder):
    return PreparedCorpus(RAVDESS(root), frame_stride=4, face_size=48, folder=folder)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """A corpus prepared without parts."""
    made = prepared(raw, tmp_path_factory.mktemp("whole"))
    made.prepare()
    return made


def test_joined_parts_are_identical_to_a_whole_preparation(raw, whole, tmp_path):
    for number in (2, 0, 1):
        made = prepared(raw, tmp_path)
        assert made.prepare_part(Part(number, 3)) == [4, 3, 3][number]
        assert not made.is_prepared
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*.jpg")}
    assert len(before) == pd.read_parquet(whole.folder / "manifest.parquet")["face"].notna().sum()
    prepared(raw, tmp_path).prepare()
    assert content(made.folder) == content(whole.folder)
    assert before == {path: path.stat().st_mtime_ns for path in made.folder.rglob("*.jpg")}  # no face was written again


def test_join_prepares_missing_parts(raw, whole, tmp_path):
    made = prepared(raw, tmp_path)
    made.prepare_part(Part(1, 2))
    made.prepare()
    assert content(made.folder) == content(whole.folder)


def test_parts_of_different_counts_can_be_joined(raw, whole, tmp_path):
    made = prepared(raw, tmp_path)
    made.prepare_part(Part(0, 2))
    made.prepare_part(Part(1, 3))
    made.prepare()
    assert content(made.folder) == content(whole.folder)


@pytest.mark.parametrize(("lock", "sentence"), [("part-0-of-2", "prepares part 0-of-2"), ("", "prepares all of")])
def test_part_locked_by_another_process_is_refused(raw, tmp_path, lock, sentence):
    made = prepared(raw, tmp_path)
    name = f"{made.folder.name}.{lock}.lock" if lock else f"{made.folder.name}.lock"
    with FileLock(tmp_path / name), pytest.raises(InputError, match=sentence):
        made.prepare_part(Part(0, 2))


@pytest.mark.parametrize(("number", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_part_out_of_range_is_refused(number, count):
    with pytest.raises(InputError, match="is out of range"):
        Part(number, count)


def test_command_prepares_parts_and_joins_them(raw, whole, tmp_path, fervid_command, capsys):
    words = ["dataset=ravdess", f"dataset.root={raw}", "dataset.frame_stride=4", "dataset.face_size=48"]
    words += [f"dataset.prepared_dir={tmp_path}", f"cache_dir={tmp_path / 'cache'}"]
    for number in range(2):
        fervid_command("prepare", *words, f"part={number}", "parts=2")
        assert f"Part {number} of 2 is prepared: 5 of 10 files." in capsys.readouterr().out
    fervid_command("prepare", *words)
    (folder,) = tmp_path.glob("ravdess-*/")
    assert f"Output: {folder}" in capsys.readouterr().out
    assert json.loads((folder / "card.json").read_text())["counts"] == whole.card()["counts"]
    with pytest.raises(SystemExit):
        fervid_command("prepare", *words, "part=1")
    assert "part and parts must be given together" in capsys.readouterr().err
