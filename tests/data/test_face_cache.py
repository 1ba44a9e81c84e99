import os
import resource

import numpy as np
import pytest

from fervid.audit.duplicates import hash_picture
from fervid.data.face_cache import FaceCache, build_face_cache
from fervid.errors import InputError
from fervid.storage.array_files import allocate


def build(path, pictures, **options):
    def read(row):
        return pictures[row]

    defaults = {"size": 8, "grayscale": False, "description": ""}
    return build_face_cache(path, len(pictures), read, **{**defaults, **options})


def test_faces_are_resized(tmp_path):
    large = np.full((64, 64, 3), 7, np.uint8)
    small = np.full((3, 3, 3), 9, np.uint8)
    build(tmp_path / "faces.npy", [np.full((8, 8, 3), (10, 20, 30), np.uint8), large, small])
    face_cache = FaceCache(tmp_path / "faces.npy")
    assert (face_cache[0] == (10, 20, 30)).all()
    assert (face_cache[np.array([2, 1])] == np.array([9, 7]).reshape(2, 1, 1, 1)).all()
    assert face_cache[np.array([2, 1])].shape == (2, 8, 8, 3)


def test_hash_is_of_original_picture(tmp_path):
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    build(tmp_path / "faces.npy", pictures)
    assert (np.load(tmp_path / "faces.hashes.npy") == [hash_picture(picture) for picture in pictures]).all()


def test_grayscale_is_luminance_in_three_channels(tmp_path):
    build(tmp_path / "faces.npy", [np.full((8, 8, 3), (255, 0, 0), np.uint8)], grayscale=True)
    assert (FaceCache(tmp_path / "faces.npy")[0] == round(0.299 * 255)).all()


def test_failed_build_leaves_no_files(tmp_path):
    def read(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_face_cache(tmp_path / "faces.npy", 3, read, size=8, grayscale=False, description="")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_an_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match=r"has no room for \d+ MiB.*cache_dir"):
            allocate(tmp_path / "faces.npy", np.uint8, (100, 100, 100, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_cache_larger_than_disk_reserves_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", lambda *words: pytest.fail("the disk is filled before it is refused"))
    with pytest.raises(InputError, match="has no room for"):
        allocate(tmp_path / "faces.npy", np.uint8, (10**9, 10**9, 3))
    assert list(tmp_path.iterdir()) == []


def test_pickled_cache_contains_path_not_pictures(tmp_path):
    import pickle

    build(tmp_path / "faces.npy", [np.zeros((8, 8, 3), np.uint8)] * 50)
    face_cache = FaceCache(tmp_path / "faces.npy")
    assert face_cache[0].sum() == 0
    assert len(pickle.dumps(face_cache)) < 1000
