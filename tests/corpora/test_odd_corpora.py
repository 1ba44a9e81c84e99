"""Folders of pictures with other files: everything that is left out is reported."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fervid.runs.record import write_manifest


def faces(folder, suffix, count, scale=1.0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        picture = Image.fromarray((scale * rng.integers(0, 255, (48, 48, 3))).astype(np.uint8))
        picture.save(folder / f"p{number}__{suffix[1:]}{suffix}")


@pytest.fixture
def prepare(fervid_command, tmp_path, capsys):
    def run(*words):
        root, out = tmp_path / "corpus", tmp_path / "prepared"
        fervid_command(
            *("prepare", "dataset=image_folder", f"dataset.root={root}", f"dataset.prepared_dir={out}"),
            *(f"hydra.run.dir={tmp_path}/out", f"cache_dir={tmp_path}/cache", *words),
        )
        output = " ".join(capsys.readouterr().out.split())
        (folder,) = [path.parent for path in out.glob("*/manifest.parquet")]
        return folder, json.loads((folder / "card.json").read_text()), output

    return run


def test_other_files_are_counted_by_suffix(prepare, tmp_path):
    root = tmp_path / "corpus"
    faces(root / "happy", ".png", 9)
    for suffix in (".jfif", ".gif", ".jpg"):
        faces(root / "sad", suffix, 9)
    for name in ("readme.txt", "labels.csv", "Thumbs.db", "film.mp4", "old.rar"):
        (root / "sad" / name).write_bytes(b"x")
    (root / "sad" / "p1__new.heic").write_bytes(b"\0\0\0\x18ftypheic")
    folder, card, output = prepare()
    assert card["counts"]["faces"] == 36
    assert card["counts"]["failures"] == 1
    failures = pd.read_csv(folder / "failures.csv")
    assert sorted(failures.to_numpy().tolist()) == [
        ["sad/film.mp4", "of another kind (.mp4)", "left out"],
        ["sad/labels.csv", "of another kind (.csv)", "left out"],
        ["sad/old.rar", ".rar cannot be read: unpack it", "left out"],
        ["sad/p1__new.heic", ".heic is not a supported format: save it as JPEG or PNG", "failed"],
        ["sad/readme.txt", "of another kind (.txt)", "left out"],
    ]
    for text in (output, (folder / "card.md").read_text()):
        assert "files of other kinds, left out: 3 (.csv 1, .mp4 1, .txt 1)" in text
        assert "unsupported archives, left out: 1 (.rar 1)" in text
    assert "1 files failed" in output


def test_files_added_after_preparation_are_reported(image_folder, pictures):
    image_folder().prepare_data()
    (pictures / "sad" / "new.rar").write_bytes(b"x")
    datamodule = image_folder()
    datamodule.prepare_data()
    datamodule.setup()
    assert datamodule.failures.to_numpy().tolist() == [["sad/new.rar", ".rar cannot be read: unpack it", "left out"]]
    assert datamodule.failed_files == 0


def test_names_of_left_out_files_are_not_spreadsheet_formulas(image_folder, pictures, tmp_path):
    (pictures / "=1+1.rar").write_bytes(b"x")
    datamodule = image_folder()
    datamodule.prepare_data()
    datamodule.setup()
    write_manifest(tmp_path, datamodule)
    assert pd.read_csv(tmp_path / "failures.csv")["path"].tolist() == ["'=1+1.rar"]


def test_folder_of_unreadable_pictures_is_an_error(prepare, tmp_path, capsys):
    faces(tmp_path / "corpus" / "happy", ".png", 9)
    (tmp_path / "corpus" / "sad").mkdir()
    for number in range(9):
        (tmp_path / "corpus" / "sad" / f"p{number}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(SystemExit) as end:
        prepare()
    assert end.value.code == 1
    output = "".join(capsys.readouterr())
    assert "of 18 files fail (first: sad/p" in output
    assert ".heic is not a supported format: save it as JPEG or PNG" in output


def test_flat_faces_are_reported(prepare, tmp_path):
    root = tmp_path / "corpus"
    faces(root / "happy", ".png", 5)
    faces(root / "sad", ".png", 3)
    for number, gray in enumerate((0, 255, 100)):
        Image.fromarray(np.full((48, 48), gray, np.uint8)).save(root / "sad" / f"q{number}__flat.png")
    deep = np.random.default_rng(0).integers(0, 4096, (48, 48)).astype(np.uint16)  # 12 bits, saved in 16
    Image.fromarray(deep).save(root / "sad" / "r__deep.png")
    folder, card, output = prepare()
    assert card["counts"]["flat_faces"] == {"black": 2, "white": 1, "constant": 1}
    sentence = "Faces without content: 2 black, 1 white, 1 constant."
    assert sentence in output
    assert sentence in (folder / "card.md").read_text()
    manifest = pd.read_parquet(folder / "manifest.parquet")
    assert manifest[manifest["flat"].notna()]["path"].tolist() == [
        *("sad/q0__flat.png", "sad/q1__flat.png", "sad/q2__flat.png", "sad/r__deep.png")
    ]
