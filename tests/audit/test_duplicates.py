import time

import cv2
import numpy as np
import pandas as pd
import pytest

from fervid.audit.duplicates import BITS, LIMIT, MIRROR, group, hash_picture, near_duplicates
from fervid.synthetic import rendering

COPIES = {
    "same": lambda face: face,
    "mirrored": lambda face: np.ascontiguousarray(face[:, ::-1]),
    "jpeg": lambda face: cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
    "half": lambda face: cv2.resize(face, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "double": lambda face: cv2.resize(face, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "brighter": lambda face: np.clip(face.astype(int) + 40, 0, 255).astype(np.uint8),
    "paler": lambda face: (face * 0.7 + 38).astype(np.uint8),
    "gamma": lambda face: (255 * (face / 255) ** 0.6).astype(np.uint8),
    "blurred": lambda face: cv2.GaussianBlur(face, (0, 0), 2),
    "noisy": lambda face: np.clip(face + np.random.default_rng(0).normal(0, 10, face.shape), 0, 255).astype(np.uint8),
    "cropped by 1%": lambda face: np.ascontiguousarray(face[:-1, :-1]),
}


@pytest.fixture(scope="module")
def faces():
    """One picture of each of twelve rendered subjects, uint8 (12, 128, 128, 3)."""
    subjects = [rendering.make_identity(number, 0) for number in range(1, 13)]
    return np.stack([rendering.render_crops(who, "happy", take=0, frames=1, seed=0).images[0] for who in subjects])


def hashes_of(pictures):
    return np.stack([hash_picture(picture) for picture in pictures])


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, BITS // 8), dtype=np.uint8)


def changed(a_hash, bits):
    """The hash with its first ``bits`` bits flipped."""
    flipped = np.unpackbits(a_hash)
    flipped[:bits] ^= 1
    return np.packbits(flipped)


def plain_loop(hashes, clips, limit):
    """Distances of the closest frames of each pair of clips, by a plain loop."""
    closest = {}
    for a in range(len(hashes)):
        for b in range(a + 1, len(hashes)):
            for mask in (0, MIRROR):
                bits = int(np.unpackbits(hashes[a] ^ hashes[b] ^ mask).sum())
                pair = frozenset((clips[a], clips[b]))
                if clips[a] != clips[b] and bits <= limit:
                    closest[pair] = min(bits, closest.get(pair, bits))
    return closest


def test_different_subjects_are_not_duplicates(faces):
    assert near_duplicates(hashes_of(faces), np.arange(len(faces))).empty


def test_similar_subjects_are_not_duplicates():
    """The two most similar of the first 24 rendered subjects: the same hair, different faces."""
    frames = range(15, 46, 10)
    one = rendering.render_crops(rendering.make_identity(4, 0), "fear", take=0, frames=60, seed=0, times=frames)
    other = rendering.render_crops(rendering.make_identity(16, 0), "disgust", take=2, frames=60, seed=0, times=frames)
    hashes = hashes_of([*one.images, *other.images])
    clips = ["one"] * 4 + ["other"] * 4
    assert near_duplicates(hashes, clips).empty
    assert len(near_duplicates(hashes, clips, limit=40)) == 1


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found(faces, name):
    copies = [COPIES[name](face) for face in faces]
    pairs = near_duplicates(hashes_of([*faces, *copies]), np.arange(2 * len(faces)))
    assert sorted(zip(pairs["row_a"], pairs["row_b"], strict=True)) == [(n, n + 12) for n in range(12)]
    assert (pairs["mirrored"] == (name == "mirrored")).all()
    assert (pairs["distance"] == 0).all() or name not in ("same", "mirrored")


def test_mirror_mask_gives_the_hash_of_the_mirrored_picture(faces):
    assert (hashes_of(faces[:, :, ::-1]) == hashes_of(faces) ^ MIRROR).all()
    assert hash_picture(faces[0]).shape == (32,)
    assert hash_picture(faces[0]).dtype == np.uint8


def test_limit_is_inclusive():
    first = noise(1)[0]
    hashes = np.stack([first, changed(first, LIMIT), changed(first ^ MIRROR, LIMIT + 1)])
    pairs = near_duplicates(hashes, ["a", "b", "c"])
    assert (
        pairs.to_dict("records")
        == [
            {"row_a": 0, "row_b": 1, "distance": LIMIT, "mirrored": False},
            {"row_a": 1, "row_b": 2, "distance": 1, "mirrored": True},
        ][::-1]
    )
    assert len(near_duplicates(hashes, ["a", "b", "c"], limit=LIMIT + 1)) == 3


def test_frames_of_one_clip_are_not_compared():
    hashes = np.repeat(noise(1), 6, axis=0)
    assert near_duplicates(hashes, ["a"] * 6).empty
    assert len(near_duplicates(hashes, ["a", "a", "a", "b", "b", "b"])) == 1


def test_each_pair_of_clips_has_its_closest_frames():
    first = noise(1)[0]
    hashes = np.stack([changed(first, 9), first, changed(first, 3), changed(first, 4)])
    pairs = near_duplicates(hashes, ["a", "b", "a", "b"])
    assert pairs.to_dict("records") == [{"row_a": 2, "row_b": 3, "distance": 1, "mirrored": False}]


def test_all_pairs_are_found_across_tiles(monkeypatch):
    """The result equals that of a plain loop, with tiles small enough to have pairs within and between tiles."""
    monkeypatch.setattr("fervid.audit.duplicates.TILE", 7)
    rng = np.random.default_rng(1)
    # Copies of five pictures, some mirrored, each with up to 20 bits changed.
    hashes = np.stack([changed(noise(5)[rng.integers(5)], rng.integers(20)) for _ in range(60)])
    hashes ^= MIRROR * rng.integers(0, 2, (60, 1), dtype=np.uint8)
    clips = rng.integers(0, 25, 60)
    pairs = near_duplicates(hashes, clips)
    found = {frozenset((clips[a], clips[b])): d for a, b, d in pairs[["row_a", "row_b", "distance"]].to_numpy()}
    assert found == plain_loop(hashes, clips, LIMIT)
    assert len(found) == len(pairs) > 25
    assert pairs["distance"].is_monotonic_increasing
    assert (pairs["row_a"] < pairs["row_b"]).all()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    pairs = near_duplicates(noise(count), ["a"] * count)
    assert pairs.empty
    assert list(pairs) == ["row_a", "row_b", "distance", "mirrored"]
    assert group(pairs, ["a"] * count).tolist() == ["a"] * count


def test_five_thousand_pictures_take_seconds():
    hashes = noise(5000)
    hashes[4999] = hashes[17] ^ MIRROR
    began = time.process_time()
    pairs = near_duplicates(hashes, np.arange(5000))
    assert time.process_time() - began < 10
    assert pairs[["row_a", "row_b", "mirrored"]].to_numpy().tolist() == [[17, 4999, True]]


def test_groups_join_clips_through_a_third_clip():
    clips = ["e", "a", "a", "b", "c", "d", "f"]
    pairs = pd.DataFrame({"row_a": [2, 3], "row_b": [3, 4]})  # a looks like b, b like c
    assert group(pairs, clips).tolist() == ["e", "a", "a", "a", "a", "d", "f"]
    assert group(pairs, pd.Series(clips, index=range(7, 14))).tolist() == ["e", "a", "a", "a", "a", "d", "f"]
    assert group(pairs.head(0), clips).tolist() == clips
