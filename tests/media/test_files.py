import os
import zipfile

import av
import numpy as np
import pytest
from PIL import Image

from fervid.errors import InputError
from fervid.media.files import list_files
from fervid.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.media.sources import read_bytes


@pytest.fixture
def root(tmp_path):
    for path in ("b/two.mp4", "a/one.MP4", "a/deep/er/three.mp4", ".hidden/x.mp4", "a/.x.mp4"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    return tmp_path


def paths(listing):
    return [file.path for file in listing.files]


def test_files_at_any_depth_sorted_and_hidden_ones_apart(root):
    listing = list_files(root, {".mp4"})
    assert paths(listing) == ["a/deep/er/three.mp4", "a/one.MP4", "b/two.mp4"]
    assert listing.notes == []
    assert listing.files[1].parts == ("a", "one.MP4")
    assert listing.files[1].stem == "one"


def test_zips_are_read_in_place(root):
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.writestr("inside/four.mp4", b"4444")
        archive.writestr("__MACOSX/inside/._four.mp4", b"x")
        archive.writestr("inside/readme.txt", b"x")
    listing = list_files(root, {".mp4"})
    assert paths(listing)[-1] == "c.zip/inside/four.mp4"
    assert read_bytes(listing.files[-1].source) == b"4444"
    assert not (root / "inside").exists()


def test_zip_entries_that_climb_out(root):
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        for name in ("../../evil.mp4", "/etc/evil.mp4", "a/../../evil.mp4", "good.mp4"):
            archive.writestr(name, b"x")
    before = sorted(os.listdir(root.parent))
    listing = list_files(root, {".mp4"})
    assert paths(listing)[-1] == "c.zip/good.mp4"
    assert len(listing.files) == 4
    assert listing.notes == ["c.zip: 3 of its entries have names that lead out of it and are not used."]
    assert sorted(os.listdir(root.parent)) == before


def test_a_damaged_zip_is_said(root):
    (root / "c.zip").write_bytes(b"PK\x03\x04 and then nothing")
    listing = list_files(root, {".mp4"})
    assert len(listing.files) == 3
    assert "c.zip: cannot be opened as a zip" in listing.notes[0]


def test_names_that_are_no_text(root):
    try:
        (root / "a" / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    listing = list_files(root, {".mp4"})
    assert len(listing.files) == 3
    assert listing.notes == ["with names that are not UTF-8 (rename them), left out: 1 (first: a/caf\\xe9.mp4)."]


def test_a_link_that_leads_back(root):
    (root / "a" / "loop").symlink_to(root)
    (root / "elsewhere").symlink_to(root / "b")
    assert paths(list_files(root, {".mp4"})) == ["a/deep/er/three.mp4", "a/one.MP4", "b/two.mp4", "elsewhere/two.mp4"]


def test_things_that_are_no_files(root):
    """A fifo would be waited on for ever."""
    (root / "a" / "gone.mp4").symlink_to(root / "nowhere.mp4")
    os.mkfifo(root / "b" / "pipe.mp4")
    listing = list_files(root, {".mp4"})
    assert paths(listing) == ["a/deep/er/three.mp4", "a/one.MP4", "b/two.mp4"]
    assert listing.notes == ["links to nothing or things that are no files, left out: 2 (first: a/gone.mp4)."]


def test_a_changed_file_has_another_stamp(root):
    before = list_files(root, {".mp4"}).files[0].stamp
    (root / "a/deep/er/three.mp4").write_bytes(b"changed")
    assert list_files(root, {".mp4"}).files[0].stamp != before


def test_a_file_that_may_be_read_now_has_another_stamp(root, monkeypatch):
    before = list_files(root, {".mp4"}).files[0].stamp
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    assert list_files(root, {".mp4"}).files[0].stamp != before


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        list_files(tmp_path / "nowhere", {".mp4"})


def test_no_permission(root, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):  # root, whom the tests may run as, is refused nothing by the system
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"/a cannot be read \(Permission denied\)"):
        list_files(root, {".mp4"})


def test_what_is_left_out_is_counted_by_suffix(root):
    for name in ("a.txt", "b.TXT", "c.rar", "d.npz", "README", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (root / "a" / name).write_bytes(b"x")
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.writestr("inside/notes.csv", b"x")
        archive.writestr("inside/Thumbs.db", b"x")
        archive.writestr(".hidden/four.mp4", b"x")
    listing = list_files(root, {".mp4"})
    assert len(listing.files) == 3
    assert listing.notes == [
        "archives that cannot be read, left out: 1 (.rar 1); unpack them.",
        "files of other kinds, left out: 5 (.txt 2, without suffix 1, .csv 1, .npz 1).",
    ]


@pytest.mark.parametrize("name", ["photo", "photo.jpg_large", "photo.jpg.1", "photo.jpg ", "001.scan"])
def test_a_picture_is_known_by_its_content_where_its_name_says_nothing(tmp_path, name):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.jpg")
    (tmp_path / name).write_bytes((tmp_path / "x.jpg").read_bytes())
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    assert sorted(paths(list_files(tmp_path, {".jpg"}))) == sorted([f"c.zip/{name}", name, "x.jpg"])
    assert paths(list_files(tmp_path, {".mp4"})) == []


@pytest.mark.parametrize(
    "suffix", [".avif", ".bmp", ".gif", ".jp2", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".webp", ".j2k"]
)
def test_pictures_of_all_formats_are_known_by_their_content(tmp_path, suffix):
    picture = Image.fromarray(np.zeros((8, 8) if suffix == ".pgm" else (8, 8, 3), np.uint8))
    picture.save(tmp_path / f"x{suffix}")
    (tmp_path / f"x{suffix}").rename(tmp_path / "x")
    (file,) = list_files(tmp_path, PICTURE_SUFFIXES).files
    assert file.suffix == {".j2k": ".jp2"}.get(suffix, suffix)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((".avi", "mpeg4"), (".flv", "flv1"), (".m2ts", "mpeg2video"), (".m2v", "mpeg2video"), (".mkv", "mpeg4")),
        *((".mov", "mpeg4"), (".mp4", "mpeg4"), (".mpg", "mpeg2video"), (".mxf", "mpeg2video"), (".rm", "rv10")),
        *((".ts", "mpeg2video"), (".webm", "libvpx"), (".wmv", "wmv2"), (".y4m", "wrapped_avframe")),
    ],
)
def test_videos_of_all_formats_are_known_by_their_content(tmp_path, suffix, codec):
    with av.open(str(tmp_path / f"x{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())
    (tmp_path / f"x{suffix}").rename(tmp_path / "x")
    (file,) = list_files(tmp_path, VIDEO_SUFFIXES).files
    assert file.suffix in VIDEO_SUFFIXES
    assert list_files(tmp_path, PICTURE_SUFFIXES).files == []


@pytest.mark.parametrize(
    "start",
    [
        b"BMI,age,sex\n24.1,31,f\n",
        b"Python is a language",
        b"P1 is a subject",
        b"P5\nP6\n",
        b"The wide range",
        b"The moov atom",
    ],
)
def test_texts_that_begin_like_a_picture_are_texts(tmp_path, start):
    (tmp_path / "notes").write_bytes(start + b"x" * 300)
    listing = list_files(tmp_path, PICTURE_SUFFIXES | VIDEO_SUFFIXES)
    assert listing.left_out == [("notes", "of another kind (without suffix)")]


def test_a_known_suffix_is_believed(tmp_path):
    """A table that begins as a picture would is a table."""
    for name in ("a.txt", "b.csv", "c.wav", "d.json"):
        (tmp_path / name).write_bytes(b"GIF89a")
    assert list_files(tmp_path, {".gif"}).files == []
