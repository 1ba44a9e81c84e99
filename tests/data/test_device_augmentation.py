"""Augmentation on the device has the same distributions as albumentations, the reference."""

from functools import cache
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import ks_2samp
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fervid.data.device_augmentation import DeviceAugmentation, without_counterpart
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.synthetic.rendering import make_identity, render_crops

ONLY_ON_THE_CPU = {"rand_augment"}  # files of conf/augmentation that are not supported on the device
FILES = {
    file.stem: pipeline
    for file in sorted(Path(CONFIG_FOLDER).glob("augmentation/*.yaml"))
    if (pipeline := instantiate(OmegaConf.load(file), _convert_="all"))
}
OTHERS = {
    "nothing": A.Compose([]),
    "whole pixels": A.Compose(
        [A.Affine(scale=(0.8, 1.25), keep_ratio=True, translate_px={"x": (-6, 6), "y": (-1, 3)}, border_mode=2, p=0.7)]
    ),
    "sheared": A.Compose([A.Affine(shear={"x": (-12, 12), "y": (0, 8)}, p=1), A.HorizontalFlip(p=0.3)], p=0.8),
    "gray levels": A.Compose(
        [
            A.RandomBrightnessContrast((-0.1, 0.3), 0.3, brightness_by_max=False, p=0.6),
            A.GaussNoise(std_range=(0.02, 0.1), mean_range=(-0.1, 0.05), per_channel=False, p=0.5),
        ]
    ),
    "bright": A.Compose([A.RandomBrightnessContrast(0.2, 0.2, p=0.5), A.Rotate((-30, 0), border_mode=0, p=0.5)]),
}
PIPELINES = {name: made for name, made in FILES.items() if name not in ONLY_ON_THE_CPU} | OTHERS


@cache
def rendered(size):
    """Rendered faces, uint8 (4, size, size, 3)."""
    clips = [render_crops(make_identity(n, seed=0), "happy", take=1, frames=9, size=size, seed=0) for n in range(1, 5)]
    return np.stack([clip.images[4] for clip in clips])


def on_the_device(pipeline, pictures, seed=0):
    """Augments on the device; returns (N, H, W, 3) like albumentations."""
    faces = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    drawn = DeviceAugmentation(pipeline)(faces, torch.Generator().manual_seed(seed))
    return drawn.mul(255).round().byte().permute(0, 2, 3, 1).numpy()


def on_the_cpu(pipeline, pictures, seed=0):
    pipeline.set_random_seed(seed)
    return np.stack([pipeline(image=picture)["image"] for picture in pictures])


def coordinates(size):
    """A picture that encodes pixel positions: x in red, y in green, and a gray level in blue."""
    place = np.linspace(0, 255, size).round().astype(np.uint8)
    return np.stack([*np.meshgrid(place, place), np.full((size, size), 128, np.uint8)], axis=-1)


def geometry(drawn):
    """Estimates the transforms of `coordinates` from the centre of the pictures, without borders; (N,) each.

    Rounded: a distribution with steps, such as whole pixels or nothing at all, must not be judged by what is left of
    OpenCV's places in 1/32 of a pixel.
    """
    size = drawn.shape[1]
    part = slice(size // 4, size - size // 4)
    middle = drawn[:, part, part].reshape(len(drawn), -1, 3).astype(np.float32)
    contrast = middle[..., 2].mean(axis=1) / 128
    y, x = np.mgrid[part, part].reshape(2, -1) - (size - 1) / 2
    places = middle[..., :2] / contrast[:, None, None] * ((size - 1) / 255) - (size - 1) / 2
    steps = np.einsum("pk,npc->nck", np.linalg.pinv(np.stack([x, y, np.ones_like(x)])), places)
    mirror = np.sign(steps[:, 0, 0])
    steps[:, 0] *= mirror[:, None]  # flipped first, then translated
    shift = -np.linalg.solve(steps[:, :, :2], steps[:, :, 2:])[..., 0]
    wide, high = (1 / np.hypot(*steps[:, row, :2].T) for row in (0, 1))
    angle, other = np.degrees([np.arctan2(steps[:, 1, 0], steps[:, 1, 1]), np.arctan2(-steps[:, 0, 1], steps[:, 0, 0])])
    return {
        "mirrored": mirror,
        "contrast factor": contrast.round(2),
        "angle": angle.round(1),
        "shear": (angle - other).round(1),
        "wide": wide.round(2),
        "high": high.round(2),
        "wide - high": (wide - high).round(2),
        "right": shift[:, 0].round(1),
        "down": shift[:, 1].round(1),
        "right - down": (shift[:, 0] - shift[:, 1]).round(1),
    }


def look(drawn, face):
    """Simple statistics of N versions of a face, (N,) each."""
    gray = drawn.mean(axis=-1, dtype=np.float32)
    y, x = np.mgrid[: face.shape[0], : face.shape[1]].astype(np.float32)
    light = gray.sum(axis=(1, 2))
    middle_x, middle_y = ((gray * along).sum(axis=(1, 2)) / light for along in (x, y))
    dx, dy = x - middle_x[:, None, None], y - middle_y[:, None, None]
    xx, yy, xy = ((gray * each).sum(axis=(1, 2)) / light for each in (dx * dx, dy * dy, dx * dy))
    plain = face.mean(axis=-1) - face.mean()
    colour = drawn[..., 0].astype(np.float32) - drawn[..., 1]
    return {
        "luminance": gray.mean(axis=(1, 2)),
        "contrast": gray.std(axis=(1, 2)),
        "middle x": middle_x,
        "middle y": middle_y,
        "orientation": np.arctan2(2 * xy, xx - yy) / 2,
        "mirrored": np.sign(((plain - plain[:, ::-1]) * gray).sum(axis=(1, 2))),
        "noise": np.abs(np.diff(gray, 2, axis=2)).mean(axis=(1, 2)),
        "noise of colour": np.abs(np.diff(colour, 2, axis=2)).mean(axis=(1, 2)),
    }


@pytest.mark.parametrize("name", FILES)
def test_every_configured_augmentation_is_supported(name):
    missing = without_counterpart(FILES[name])
    assert bool(missing) == (name in ONLY_ON_THE_CPU), f"{missing}: write it, or list {name} as ONLY_ON_THE_CPU"


def least_likely(theirs, ours):
    """The statistic that differs most, and the p-value of this difference."""
    chances = {key: ks_2samp(theirs[key].round(2), ours[key].round(2), method="asymp").pvalue for key in theirs}
    return min((chance, key) for key, chance in chances.items())


@pytest.mark.parametrize("size", [28, pytest.param(96, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PIPELINES)
def test_distributions_match_albumentations(name, size):
    pipeline, face, draws = PIPELINES[name], rendered(size)[0], 400
    theirs, ours = (draw(pipeline, np.stack([face] * draws), seed=1) for draw in (on_the_cpu, on_the_device))
    error = np.sqrt((theirs.var(axis=0) + ours.var(axis=0)) / draws).mean()  # of a mean picture, gray levels
    assert np.abs(theirs.mean(axis=0) - ours.mean(axis=0)).mean() <= 3 * error
    assert np.abs(theirs.std(axis=0) - ours.std(axis=0)).mean() <= 2 * error
    assert least_likely(look(theirs, face), look(ours, face)) > (1e-3,)
    places = np.stack([coordinates(size)] * draws)
    theirs, ours = (draw(pipeline, places, seed=2) for draw in (on_the_cpu, on_the_device))
    assert least_likely(geometry(theirs), geometry(ours)) > (1e-3,)


TURN = {"rotate": (10, 10), "scale": (0.9, 0.9), "p": 1}
BEND = {
    "rotate": (-7, -7),
    "scale": {"x": (0.8, 0.8), "y": (1.2, 1.2)},
    "shear": {"x": (8, 8), "y": (-4, -4)},
    "translate_percent": {"x": (0.1, 0.1), "y": (-0.07, -0.07)},
    "p": 1,
}


@pytest.mark.parametrize("width", [96, 28, 60])
@pytest.mark.parametrize(
    "transform",
    [
        *[A.Affine(**TURN, border_mode=border) for border in (0, 1, 2, 4)],
        *[A.Affine(**BEND, border_mode=border) for border in (0, 1, 2, 4)],
        *[A.Rotate((-15, -15), border_mode=border, p=1) for border in (0, 1, 2, 4)],
    ],
    ids=str,
)
def test_same_affine_transform_gives_same_picture(transform, width):
    height = width if width in (96, 28) else 96
    faces = np.ascontiguousarray(rendered(height)[:, :, :width])
    pipeline = A.Compose([transform])
    error = np.abs(on_the_cpu(pipeline, faces).astype(int) - on_the_device(pipeline, faces))
    # OpenCV rounds positions to 1/32 of a pixel.
    assert error.mean() < 0.25
    assert error.max() <= 5


@pytest.mark.parametrize(
    "transform",
    [
        A.HorizontalFlip(p=1),
        A.Affine(translate_px={"x": (5, 5), "y": (-3, -3)}, p=1),
        A.RandomBrightnessContrast((0.2, 0.2), (0.3, 0.3), p=1),
        A.RandomBrightnessContrast((-0.2, -0.2), (-0.1, -0.1), brightness_by_max=False, p=1),
        A.GaussNoise(std_range=(0, 0), mean_range=(0.1, 0.1), p=1),
        A.Affine(rotate=(5, 5), p=0),
    ],
    ids=str,
)
def test_transforms_without_interpolation_are_bit_identical(transform):
    faces, pipeline = rendered(28), A.Compose([transform])
    assert (on_the_cpu(pipeline, faces) == on_the_device(pipeline, faces)).all()


@pytest.mark.parametrize("name", PIPELINES)
def test_output_has_documented_type_and_range(name):
    faces = torch.from_numpy(np.concatenate([rendered(28)] * 4)).permute(0, 3, 1, 2)
    before, draw = faces.clone(), DeviceAugmentation(PIPELINES[name])

    def drawn(seed):
        return draw(faces, torch.Generator().manual_seed(seed))

    out = drawn(0)
    assert (out.dtype, out.shape) == (torch.float32, faces.shape)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(faces, before)
    assert torch.equal(out, drawn(0))
    assert torch.equal(out, drawn(1)) == (name == "nothing")
    if name == "nothing":
        assert torch.equal(out, faces.float().div_(255))


@pytest.mark.parametrize("name", ["hf_faces", "ised"])
def test_pictures_are_drawn_independently(name):
    drawn = on_the_device(PIPELINES[name], np.stack([rendered(28)[0]] * 30))
    assert len(np.unique(drawn.reshape(30, -1), axis=0)) == 30


@pytest.mark.parametrize("pipeline", [A.Compose([A.HorizontalFlip(p=0.5)]), A.Compose([A.HorizontalFlip(p=1)], p=0.5)])
def test_half_of_the_pictures_are_flipped(pipeline):
    pictures = np.stack([coordinates(4)] * 4000)
    changed = (on_the_device(pipeline, pictures) != pictures).any(axis=(1, 2, 3))
    assert changed.mean() == pytest.approx(0.5, abs=0.03)


def rectangles(drawn):
    """Top, left, height and width of the black rectangle in each picture."""
    found = []
    for black in (drawn == 0).all(-1):
        y, x = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
        found.append([y[0], x[0], len(y), len(x)] if len(y) else [0, 0, 0, 0])
    return dict(zip(("top", "left", "height", "width"), np.array(found, float).T, strict=True))


@pytest.mark.parametrize("scale", [(0.05, 0.2), (0.1, 0.9)])
def test_erased_rectangles_have_the_distribution_of_albumentations(scale):
    pipeline = A.Compose([A.Erasing(scale=scale, ratio=(0.4, 1.5), p=0.7)])
    pictures = np.full((1000, 28, 40, 3), 255, np.uint8)
    theirs, ours = (rectangles(draw(pipeline, pictures, seed=3)) for draw in (on_the_cpu, on_the_device))
    assert least_likely(theirs, ours) > (1e-3,)
    assert (ours["height"] == 0).mean() == pytest.approx(0.3, abs=0.06)


def test_a_rectangle_larger_than_the_picture_is_not_erased():
    pipeline, faces = A.Compose([A.Erasing(scale=(0.9, 1.0), p=1)]), rendered(28)  # albumentations raises a TypeError
    assert (on_the_device(pipeline, faces) == faces).all()


class _Operations(TorchDispatchMode):
    """Records operations; on a GPU each is about one kernel, except views and allocations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        if name == "lift_fresh" or not (operation.is_view or name.startswith(("empty", "new_empty"))):
            self.names.append(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", PIPELINES)
def test_host_reads_nothing_back_from_device(name):
    draw, generator = DeviceAugmentation(PIPELINES[name]), torch.Generator()
    # Tensors without values: reading a value, or counting true elements, fails.
    with FakeTensorMode():
        out = draw(torch.empty((8, 3, 28, 28), dtype=torch.uint8), generator)
    assert out.shape == (8, 3, 28, 28)
    with _Operations() as operations:
        draw(torch.zeros((8, 3, 28, 28), dtype=torch.uint8), generator)
    assert "lift_fresh" not in operations.names  # a copy of Python numbers would wait for the device
    assert len(operations.names) <= 50


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.parametrize("name", PIPELINES)
def test_gpu_runs_asynchronously_with_same_distributions(name):
    faces = torch.from_numpy(np.stack([rendered(28)[0]] * 400)).cuda().permute(0, 3, 1, 2)
    draw, generator = DeviceAugmentation(PIPELINES[name]), torch.Generator("cuda").manual_seed(0)
    draw(faces, generator)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        out = draw(faces, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    there = out.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    here = on_the_device(PIPELINES[name], np.stack([rendered(28)[0]] * 400))
    assert least_likely(look(here, rendered(28)[0]), look(there, rendered(28)[0])) > (1e-3,)


class OwnFlip(A.HorizontalFlip):
    """An unsupported transform."""


@pytest.mark.parametrize(
    ("pipeline", "missing"),
    [
        (A.Compose([]), []),
        (A.Compose([A.Rotate(), A.CLAHE(), OwnFlip()]), ["CLAHE", "OwnFlip"]),
        (A.Compose([A.OneOf([A.HorizontalFlip()])]), ["OneOf"]),
        (A.Sequential([A.HorizontalFlip()]), ["Sequential"]),
        (A.Compose([A.Affine(border_mode=cv2.BORDER_WRAP)]), ["Affine(border_mode=3)"]),
        (A.Compose([A.Affine(interpolation=cv2.INTER_CUBIC)]), ["Affine(interpolation=2)"]),
        (A.Compose([A.Affine(fill=128)]), ["Affine(fill=128.0)"]),
        (A.Compose([A.Affine(fit_output=True)]), ["Affine(fit_output=True)"]),
        (A.Compose([A.Affine(balanced_scale=True)]), ["Affine(balanced_scale=True)"]),
        (A.Compose([A.Erasing(fill="inpaint_ns")]), ["Erasing(fill=inpaint_ns)"]),
        (A.Compose([A.Rotate(crop_border=True)]), ["Rotate(crop_border=True)"]),
        (A.Compose([A.GaussNoise(noise_scale_factor=0.5)]), ["GaussNoise(noise_scale_factor=0.5)"]),
        (
            A.Compose([A.RandomBrightnessContrast(ensure_safe_range=True)]),
            ["RandomBrightnessContrast(ensure_safe_range=True)"],
        ),
    ],
)
def test_unsupported_transforms_are_listed(pipeline, missing):
    assert without_counterpart(pipeline) == missing
    if missing:
        with pytest.raises(InputError) as error:
            DeviceAugmentation(pipeline)
        assert all(name in str(error.value) for name in missing)
