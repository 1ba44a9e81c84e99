"""Imports and pixel sums of the cropping workers."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from fervid.faces import clip_faces

HEAVY = ("torch", "pandas", "joblib", "rich", "albumentations", "pytorch_lightning", "hydra", "matplotlib")


def test_worker_imports_no_heavy_packages():
    code = "import sys, fervid.faces.clip_faces; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not set(HEAVY) & set(loaded.stdout.split())


@pytest.mark.parametrize("kind", ["noise", "white", "black", "a view"])
@pytest.mark.parametrize("side", [1, 7, 416])
def test_pixel_sums_match_all_pixels(side, kind):
    noise = np.random.default_rng(side).integers(0, 256, (2 * side, 2 * side, 3), np.uint8)
    face = {
        "noise": np.ascontiguousarray(noise[:side, :side]),
        "white": np.full((side, side, 3), 255, np.uint8),
        "black": np.zeros((side, side, 3), np.uint8),
        "a view": noise[::2, ::-2, ::-1],
    }[kind]
    gray = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
    pixels = np.dstack([face, gray]).reshape(-1, 4).astype(np.int64)
    found = clip_faces.pixel_sums(face)
    assert found == [side * side, *pixels.sum(axis=0), *(pixels**2).sum(axis=0)]
    assert {type(value) for value in found} == {int}  # for the journal
