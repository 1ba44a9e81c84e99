"""Sources of fervid.predict."""

import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fervid.errors import InputError
from fervid.predict.inputs import Camera, find_sources


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "a.JPG", "notes.txt", "deep/c.png", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folders_and_globs_are_listed_without_duplicates(folder):
    items = find_sources([str(folder / "b.mp4"), str(folder)]).items
    assert [(item.name, item.is_video) for item in items] == [
        (str(folder / "b.mp4"), True),
        (str(folder / "a.JPG"), False),
        (str(folder / "deep/c.png"), False),
    ]
    assert [item.name for item in find_sources(f"{folder}/**/*.png").items] == [str(folder / "deep/c.png")]
    assert [item.name for item in find_sources(f"{folder}/*").items] == [str(folder / "a.JPG"), str(folder / "b.mp4")]


def test_zip_file_is_a_source(folder):
    with zipfile.ZipFile(folder / "c.zip", "w") as archive:
        archive.writestr("deep/d.jfif", b"x")
        archive.writestr("deep/e.3gp", b"x")
    items = find_sources(str(folder / "c.zip")).items
    assert [(item.name, item.is_video) for item in items] == [
        (str(folder / "c.zip/deep/d.jfif"), False),
        (str(folder / "c.zip/deep/e.3gp"), True),
    ]


def test_existing_file_with_glob_characters_is_not_a_glob(folder):
    (folder / "film [1].mp4").write_bytes(b"")
    (item,) = find_sources(str(folder / "film [1].mp4")).items
    assert item.source == folder / "film [1].mp4"


def test_cameras_are_numbered():
    assert find_sources("camera").items[0].source == Camera(0)
    assert find_sources("camera:2", 5.0).items[0].source == Camera(2, 5.0)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("nothing.mp4", "does not exist"),
        ("*.gif", "matches no picture"),
        ("notes.txt", "neither a picture nor a video"),
        ("empty", "contains neither pictures nor videos"),
        ("camera:front", "is not a camera"),
    ],
)
def test_invalid_source_raises(folder, monkeypatch, word, sentence):
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=sentence):
        find_sources(word)


def test_camera_yields_every_third_frame_and_is_released(monkeypatch):
    released = []
    camera = SimpleNamespace(
        isOpened=lambda: True,
        read=lambda: (True, np.full((4, 6, 3), (255, 0, 0), np.uint8)),  # blue in OpenCV's order
        release=lambda: released.append(1),
    )
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
    clock = iter(np.arange(0, 10, 0.1))
    monkeypatch.setattr("fervid.predict.inputs.time.monotonic", lambda: float(next(clock)))
    frames = list(Camera(seconds=1.0).frames(3))
    assert [frame.number for frame in frames] == [0, 3, 6, 9]
    assert [frame.time for frame in frames] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert frames[0].image[0, 0].tolist() == [0, 0, 255]
    assert released
