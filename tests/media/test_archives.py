"""Zips of corpora: nested, packed on Windows, large, changed or malicious."""

import io
import os
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervid.media.decoding import read_picture
from fervid.media.files import list_files
from fervid.media.sources import read_bytes

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"


def picture(gray):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), gray, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, compression  # unchanged, including backslashes
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.fixture
def tables_read(monkeypatch):
    """A list with one entry per table of contents read."""
    count = []
    parse = zipfile.ZipFile.__init__

    def counted(self, *arguments, **options):
        count.append(arguments)
        parse(self, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "__init__", counted)
    return count


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "compressed"])
def test_nested_zips_are_read_in_any_order(tmp_path, compression):
    subjects = {
        f"subject {subject}.zip": zipped(
            {f"happy/{number}.png": picture(10 * subject + number) for number in range(8)}, zipfile.ZIP_DEFLATED
        )
        for subject in range(3)
    }
    (tmp_path / "all.zip").write_bytes(zipped({"deep/corpus.zip": zipped(subjects, compression)}, compression))
    listing = list_files(tmp_path, {".png"})
    assert listing.notes == []
    assert len(listing.files) == 24
    assert listing.files[9].path == "all.zip/deep/corpus.zip/subject 1.zip/happy/1.png"
    for place in np.random.default_rng(0).permutation(24):
        assert read_picture(listing.files[place].source)[0, 0, 0] == 10 * (place // 8) + place % 8
    assert os.listdir(tmp_path) == ["all.zip"]


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs in {CASES}")
def test_real_zip_of_zips():
    listing = list_files(CASES / "zip_of_zips.zip", {".png", ".jpg", ".mp4"})
    assert listing.files
    for file in listing.files:
        assert ".zip/" in file.path
        assert len(read_bytes(file.source)) > 0


def test_members_with_backslashes(tmp_path):
    inner = zipped({"sad\\b.png": picture(2), "..\\..\\evil.png": picture(3), "sad\\": b""})
    (tmp_path / "a.zip").write_bytes(zipped({"happy\\a.png": picture(1), "more\\inner.zip": inner}))
    listing = list_files(tmp_path, {".png"})
    assert [file.path for file in listing.files] == ["a.zip/happy/a.png", "a.zip/more/inner.zip/sad/b.png"]
    assert listing.files[1].parts == ("a.zip", "more", "inner.zip", "sad", "b.png")
    assert [read_picture(file.source)[0, 0, 0] for file in listing.files] == [1, 2]
    (note,) = listing.notes
    assert note.startswith("a.zip/more/inner.zip: 1 of its entries have unsafe names that lead out of the archive")


def test_last_of_several_members_with_the_same_name_is_used(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name, value in (
            ("happy/a.png", 1),
            ("sad/b.png", 2),
            ("happy/", 0),
            ("./happy//a.png", 3),
            ("sad\\b.png", 4),
            ("happy/", 0),
        ):
            archive.writestr(name, picture(value))
    listing = list_files(tmp_path, {".png"})
    assert [file.path for file in listing.files] == ["a.zip/happy/a.png", "a.zip/sad/b.png"]
    assert [read_picture(file.source)[0, 0, 0] for file in listing.files] == [3, 4]
    assert listing.left_out == [
        ("a.zip/happy/a.png", "replaced by a later member of the same name"),
        ("a.zip/sad/b.png", "replaced by a later member of the same name"),
    ]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "compressed"])
def test_each_table_of_contents_is_read_once(tmp_path, tables_read, compression):
    inner = zipped({f"happy/{number}.png": picture(number) for number in range(100)}, zipfile.ZIP_DEFLATED)
    outside = {f"sad/{number}.png": picture(number) for number in range(100)}
    (tmp_path / "a.zip").write_bytes(zipped({"inner.zip": inner, **outside}, compression))
    tables_read.clear()
    listing = list_files(tmp_path, {".png"})
    assert len(listing.files) == 200
    for file in listing.files:
        read_bytes(file.source)
    assert len(tables_read) == 2


def test_changed_zip_is_opened_again(tmp_path):
    path = tmp_path / "a.zip"
    for gray in (1, 2, 3):
        path.write_bytes(zipped({"a.png": picture(gray)}))
        os.utime(path, ns=(gray, gray))
        assert read_picture((path, "a.png"))[0, 0, 0] == gray
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        read_bytes((path, "a.png"))


def test_forked_processes_and_threads_read_correctly(tmp_path):
    """With a shared handle, another reader could move the position between seek and read."""
    contents = {f"{number}.png": np.random.default_rng(number).bytes(20_000) for number in range(30)}
    (tmp_path / "a.zip").write_bytes(zipped({"inner.zip": zipped(contents)}))

    def all_right(_=None):
        return all(read_bytes((tmp_path / "a.zip", "inner.zip", name)) == contents[name] for name in contents)

    assert all_right()
    child = os.fork()
    if not child:
        os._exit(0 if all(all_right() for _ in range(20)) else 1)
    assert all(all_right() for _ in range(20))
    assert os.waitpid(child, 0)[1] == 0
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(all_right, range(8)))
    assert threading.active_count() >= 1


def test_zips_nested_too_deep_are_reported(tmp_path):
    content = zipped({"a.png": picture(1)})
    for _ in range(3):
        content = zipped({"in.zip": content, "b.png": picture(2)})
    (tmp_path / "a.zip").write_bytes(content)
    listing = list_files(tmp_path, {".png"})
    assert len(listing.files) == 3
    assert listing.notes == ["a.zip/in.zip/in.zip/in.zip: left out, since zips are read only 3 levels deep."]


def test_too_many_nested_zips_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("fervid.media.archives.MAX_INNER_ZIPS", 5)
    inner = zipped({"a.png": picture(1)})
    (tmp_path / "a.zip").write_bytes(zipped({f"{number}.zip": inner for number in range(9)}))
    listing = list_files(tmp_path, {".png"})
    assert len(listing.files) == 5
    assert listing.notes == ["a.zip: has more than 5 zips; the others are left out."]


def test_zip_bomb_inside_a_zip(tmp_path):
    bomb = zipped({"a.png": bytes(30_000_000)}, zipfile.ZIP_DEFLATED)
    wide = zipped({"big.zip": zipped({"a.png": bytes(30_000_000)})}, zipfile.ZIP_DEFLATED)
    (tmp_path / "a.zip").write_bytes(zipped({"bomb.zip": bomb, "wide.zip": wide}))
    listing = list_files(tmp_path, {".png"})
    (file,) = listing.files
    with pytest.raises(ValueError, match="unpacks to 29 MiB"):
        read_bytes(file.source)
    assert "a.zip/wide.zip/big.zip: cannot be opened as a zip (unpacks to 29 MiB" in listing.notes[0]


def test_damaged_compressed_member_is_an_error(tmp_path):
    content = np.random.default_rng(0).integers(0, 4, 5000, dtype=np.uint8).tobytes()
    damaged = bytearray(zipped({"a.png": content}, zipfile.ZIP_DEFLATED))
    damaged[200:400] = b"\xff" * 200
    (tmp_path / "a.zip").write_bytes(damaged)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_bytes((tmp_path / "a.zip", "a.png"))


def test_root_may_be_a_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"happy/a.png": picture(1)}))
    (file,) = list_files(tmp_path / "a.zip", {".png"}).files
    assert file.path == "a.zip/happy/a.png"
    assert read_picture(file.source)[0, 0, 0] == 1
