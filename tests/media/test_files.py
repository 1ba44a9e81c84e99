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


def test_files_are_sorted_and_hidden_files_skipped(root):
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


def test_unsafe_zip_entries_are_ignored(root):
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        for name in ("../../evil.mp4", "/etc/evil.mp4", "a/../../evil.mp4", "good.mp4"):
            archive.writestr(name, b"x")
    before = sorted(os.listdir(root.parent))
    listing = list_files(root, {".mp4"})
    assert paths(listing)[-1] == "c.zip/good.mp4"
    assert len(listing.files) == 4
    assert listing.notes == ["c.zip: 3 of its entries have unsafe names that lead out of the archive and are ignored."]
    assert sorted(os.listdir(root.parent)) == before


def test_damaged_zip_is_reported(root):
    (root / "c.zip").write_bytes(b"PK\x03\x04 and then nothing")
    listing = list_files(root, {".mp4"})
    assert len(listing.files) == 3
    assert "c.zip: cannot be opened as a zip" in listing.notes[0]


def test_names_that_are_not_utf_8_are_reported(root):
    try:
        (root / "a" / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system allows only UTF-8 names")
    listing = list_files(root, {".mp4"})
    assert len(listing.files) == 3
    assert listing.notes == ["with names that are not UTF-8 (rename them), left out: 1 (first: a/caf\\xe9.mp4)."]


def test_circular_link_is_not_followed(root):
    (root / "a" / "loop").symlink_to(root)
    (root / "elsewhere").symlink_to(root / "b")
    assert paths(list_files(root, {".mp4"})) == ["a/deep/er/three.mp4", "a/one.MP4", "b/two.mp4", "elsewhere/two.mp4"]


def test_broken_links_and_special_files_are_left_out(root):
    """Reading a FIFO would block forever."""
    (root / "a" / "gone.mp4").symlink_to(root / "nowhere.mp4")
    os.mkfifo(root / "b" / "pipe.mp4")
    listing = list_files(root, {".mp4"})
    assert paths(listing) == ["a/deep/er/three.mp4", "a/one.MP4", "b/two.mp4"]
    assert listing.notes == ["broken links or special files, left out: 2 (first: a/gone.mp4)."]


def test_changed_file_has_a_new_stamp(root):
    before = list_files(root, {".mp4"}).files[0].stamp
    (root / "a/deep/er/three.mp4").write_bytes(b"changed")
    assert list_files(root, {".mp4"}).files[0].stamp != before


def test_stamp_depends_on_readability(root, monkeypatch):
    before = list_files(root, {".mp4"}).files[0].stamp
    monkeypatch.setattr(os, "access", lambda *_: False)  # root can read everything
    assert list_files(root, {".mp4"}).files[0].stamp != before


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        list_files(tmp_path / "nowhere", {".mp4"})


def test_unreadable_folder_is_an_error(root, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):  # simulated, since root can read everything
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"/a cannot be read \(Permission denied\)"):
        list_files(root, {".mp4"})


def test_other_files_are_counted_by_suffix(root):
    for name in ("a.txt", "b.TXT", "c.rar", "d.npz", "README", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (root / "a" / name).write_bytes(b"x")
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.writestr("inside/notes.csv", b"x")
        archive.writestr("inside/Thumbs.db", b"x")
        archive.writestr(".hidden/four.mp4", b"x")
    listing = list_files(root, {".mp4"})
    assert len(listing.files) == 3
    assert listing.notes == [
        "unsupported archives, left out: 1 (.rar 1); unpack them.",
        "files of other kinds, left out: 5 (.txt 2, without suffix 1, .csv 1, .npz 1).",
    ]


@pytest.mark.parametrize("name", ["photo", "photo.jpg_large", "photo.jpg.1", "photo.jpg ", "001.scan"])
def test_pictures_without_a_known_suffix_are_identified_by_content(tmp_path, name):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.jpg")
    (tmp_path / name).write_bytes((tmp_path / "x.jpg").read_bytes())
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    assert sorted(paths(list_files(tmp_path, {".jpg"}))) == sorted([f"c.zip/{name}", name, "x.jpg"])
    assert paths(list_files(tmp_path, {".mp4"})) == []


@pytest.mark.parametrize(
    "suffix", [".avif", ".bmp", ".gif", ".jp2", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".webp", ".j2k"]
)
def test_all_picture_formats_are_identified_by_content(tmp_path, suffix):
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
def test_all_video_formats_are_identified_by_content(tmp_path, suffix, codec):
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
def test_text_with_the_start_of_a_picture_is_no_picture(tmp_path, start):
    (tmp_path / "notes").write_bytes(start + b"x" * 300)
    listing = list_files(tmp_path, PICTURE_SUFFIXES | VIDEO_SUFFIXES)
    assert listing.left_out == [("notes", "of another kind (without suffix)")]


def test_known_suffix_takes_precedence_over_content(tmp_path):
    """A CSV that starts like a picture is a CSV."""
    for name in ("a.txt", "b.csv", "c.wav", "d.json"):
        (tmp_path / name).write_bytes(b"GIF89a")
    assert list_files(tmp_path, {".gif"}).files == []
