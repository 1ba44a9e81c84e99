"""Augmentation of whole batches where the faces are, with the distributions of albumentations' pipelines.

albumentations changes one picture after the other on the CPU, which cannot keep up with a GPU. Here each transform
changes a batch at once: every picture has its own draws, from the ranges that the albumentations object holds, and what
is computed from them is what albumentations 2.0.8 and OpenCV compute, up to the noise of their rounding. The host never
reads a number back from the device, so that it can run ahead of it.

Why not a library: torchvision draws once a call, for all of its pictures, and on the host; kornia reads back which
pictures are to be changed, and its noise has one strength.
"""

import math
from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.errors import InputError


class _Draws:
    """What one transform draws for a batch, shape (B, 1, 1, 1): for every picture anew.

    Args:
        faces: the batch, (B, 3, H, W).
        p: chance of each picture to be changed.
        generator: on the device of the faces.
    """

    def __init__(self, faces: Tensor, p: float, generator: torch.Generator):
        self.generator = generator
        self.empty = faces.new_empty((len(faces), 1, 1, 1), dtype=torch.float32)
        # Most transforms change every picture: nothing to launch for those.
        self.unchanged = self.empty.new_empty(self.empty.shape, dtype=torch.bool) if p < 1 else None
        if self.unchanged is not None:
            self.unchanged.bernoulli_(1 - p, generator=generator)

    def uniform(self, limits: tuple[float, float], neutral: float) -> Tensor:
        """Numbers from a range; ``neutral`` for pictures that are not to be changed."""
        drawn = torch.empty_like(self.empty).uniform_(*sorted(limits), generator=self.generator)
        return drawn if self.unchanged is None else drawn.masked_fill_(self.unchanged, neutral)

    def angle(self, limits: tuple[float, float]) -> Tensor:
        """Radians from a range in degrees; 0 for pictures that are not to be changed."""
        return self.uniform((math.radians(limits[0]), math.radians(limits[1])), 0)

    def integers(self, limits: tuple[float, float]) -> Tensor:
        """Whole numbers from a range, both ends included; 0 for pictures that are not to be changed."""
        low, high = sorted(int(limit) for limit in limits)
        drawn = torch.empty_like(self.empty).random_(low, high + 1, generator=self.generator)
        return drawn if self.unchanged is None else drawn.masked_fill_(self.unchanged, 0)

    def choose(self, changed: Tensor, faces: Tensor) -> Tensor:
        """Pictures as they were where they are not to be changed."""
        return changed if self.unchanged is None else torch.where(self.unchanged, faces, changed)


_BORDERS = {
    cv2.BORDER_CONSTANT: ("zeros", True),
    cv2.BORDER_REPLICATE: ("border", True),
    cv2.BORDER_REFLECT: ("reflection", False),
    cv2.BORDER_REFLECT_101: ("reflection", True),
}
"""OpenCV's borders as ``grid_sample`` calls them: padding mode, and whether -1 and 1 are the middles of the outermost
pixels, about which it then reflects, or their outer edges."""


def _warp(
    faces: Tensor,
    border_mode: int,
    angle: Tensor,
    *,
    scale: tuple[Tensor, Tensor] | None = None,
    shear: tuple[Tensor, Tensor] | None = None,
    shift: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Turns, stretches, shears and shifts about the middle, as ``cv2.warpAffine`` with albumentations' matrix.

    That matrix leads from the faces to the result: first stretched, then turned, sheared and shifted. Here its inverse
    is put together, which says where in the faces a pixel of the result comes from.

    Args:
        faces: uint8 (B, 3, H, W).
        border_mode: OpenCV's, for what comes from outside.
        angle: anticlockwise, in radians, (B, 1, 1, 1) as all that follow.
        scale: factors across and down.
        shear: across and down, in radians.
        shift: to the right and down, in pixels.

    Returns:
        uint8 (B, 3, H, W), channels_last.
    """
    height, width = faces.shape[2:]
    padding, middles = _BORDERS[border_mode]
    half_width, half_height = (width - middles) / 2, (height - middles) / 2  # in pixels, what grid_sample calls 1
    ratio = half_width / half_height
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Where in the faces a step right and a step down in the result lead: (B, 1, 1, 2), x and y.
    right, down = torch.cat((cos, sin * ratio), -1), torch.cat((sin * (-1 / ratio), cos), -1)
    if shear is not None:
        across, along = torch.tan(shear[0]) / ratio, torch.tan(shear[1]) * ratio
        area = 1 - across * along
        right, down = (right - along * down) / area, (down - across * right) / area
    if scale is not None:
        factors = torch.cat(scale, -1)
        right, down = right / factors, down / factors
    # Where the pixels of the result are, (1, 1, W, 1) and (1, H, 1, 1).
    end_x, end_y = (width - 1) / 2 / half_width, (height - 1) / 2 / half_height
    x = torch.linspace(-end_x, end_x, width, device=faces.device).view(1, 1, width, 1)
    y = torch.linspace(-end_y, end_y, height, device=faces.device).view(1, height, 1, 1)
    if shift is not None:
        x, y = x - shift[0] / half_width, y - shift[1] / half_height
    grid = torch.addcmul(down * y, right, x)
    moved = F.grid_sample(faces.float(), grid, padding_mode=padding, align_corners=middles)
    return moved.round_().to(torch.uint8, memory_format=torch.channels_last)


def _horizontal_flip(transform: A.HorizontalFlip, faces: Tensor, generator: torch.Generator) -> Tensor:
    return _Draws(faces, transform.p, generator).choose(faces.flip(3), faces)


def _affine(transform: A.Affine, faces: Tensor, generator: torch.Generator) -> Tensor:
    draws = _Draws(faces, transform.p, generator)
    angle = draws.angle(transform.rotate)
    wide = draws.uniform(transform.scale["x"], 1)
    scale = wide, wide if transform.keep_ratio else draws.uniform(transform.scale["y"], 1)
    shear, shift = None, None
    if any(transform.shear["x"]) or any(transform.shear["y"]):
        shear = -draws.angle(transform.shear["x"]), -draws.angle(transform.shear["y"])
    if transform.translate_percent is not None:
        height, width = faces.shape[2:]
        right = draws.uniform(transform.translate_percent["x"], 0) * width
        down = draws.uniform(transform.translate_percent["y"], 0) * height
        shift = right.trunc_(), down.trunc_()  # whole pixels
    elif any(transform.translate_px["x"]) or any(transform.translate_px["y"]):
        shift = draws.integers(transform.translate_px["x"]), draws.integers(transform.translate_px["y"])
    return _warp(faces, transform.border_mode, angle, scale=scale, shear=shear, shift=shift)


def _rotate(transform: A.Rotate, faces: Tensor, generator: torch.Generator) -> Tensor:
    return _warp(faces, transform.border_mode, _Draws(faces, transform.p, generator).angle(transform.limit))


def _brightness_contrast(transform: A.RandomBrightnessContrast, faces: Tensor, generator: torch.Generator) -> Tensor:
    draws = _Draws(faces, transform.p, generator)
    low, high = transform.contrast_limit
    gray = faces * draws.uniform((1 + low, 1 + high), 1)  # about black, not about the mean
    if any(transform.brightness_limit):
        most = 255 if transform.brightness_by_max else faces.mean((1, 2, 3), keepdim=True, dtype=torch.float32)
        gray += draws.uniform(transform.brightness_limit, 0) * most
    # Cut off, not rounded, as albumentations does it.
    return gray.clamp_(0, 255).to(torch.uint8)


def _gauss_noise(transform: A.GaussNoise, faces: Tensor, generator: torch.Generator) -> Tensor:
    draws = _Draws(faces, transform.p, generator)
    like = faces if transform.per_channel else faces[:, :1]
    noise = torch.empty_like(like, dtype=torch.float32).normal_(generator=generator)
    noise *= draws.uniform(transform.std_range, 0) * 255
    if any(transform.mean_range):
        noise += draws.uniform(transform.mean_range, 0) * 255
    # Cut off towards zero before it is added, as albumentations does it.
    return (noise.trunc_() + faces).clamp_(0, 255).to(torch.uint8)


_Counterpart = Callable[[Any, Tensor, torch.Generator], Tensor]

_COUNTERPARTS: dict[type, tuple[_Counterpart, set[str]]] = {
    A.HorizontalFlip: (_horizontal_flip, set()),
    A.Affine: (_affine, {"rotate", "scale", "keep_ratio", "shear", "translate_percent", "translate_px"}),
    A.Rotate: (_rotate, {"limit"}),
    A.RandomBrightnessContrast: (_brightness_contrast, {"brightness_limit", "contrast_limit", "brightness_by_max"}),
    A.GaussNoise: (_gauss_noise, {"std_range", "mean_range", "per_channel"}),
}
"""What stands in for a transform, and which of its settings it follows whatever they are."""

_NO_MATTER = {"p", "mask_interpolation", "fill_mask", "rotate_method"}
"""Settings followed everywhere (``p``), and those of masks and boxes, of which faces have none."""

_ONLY: dict[str, list[Any]] = {
    "border_mode": list(_BORDERS),
    "interpolation": [cv2.INTER_LINEAR],
    "fill": [0],
    "fit_output": [False],
    "balanced_scale": [False],
    "crop_border": [False],
    "ensure_safe_range": [False],
    "noise_scale_factor": [1],
}
"""Settings followed if they have one of these values."""


def without_counterpart(pipeline: A.BaseCompose) -> list[str]:
    """Says what of a pipeline `DeviceAugmentation` cannot do.

    Args:
        pipeline: of albumentations.

    Returns:
        Names of transforms, with the setting that is not followed where it is only that:
        ``["CLAHE", "GaussNoise(noise_scale_factor=0.5)"]``. Empty if all of it can be done.
    """
    if type(pipeline) is not A.Compose:
        return [type(pipeline).__name__]
    missing = []
    for transform in pipeline.transforms:
        name = type(transform).__name__
        if type(transform) not in _COUNTERPARTS:
            missing.append(name)
            continue
        followed = _COUNTERPARTS[type(transform)][1] | _NO_MATTER
        settings = transform.get_transform_init_args().items()
        missing += [
            f"{name}({key}={value})"
            for key, value in settings
            if key not in followed and value not in _ONLY.get(key, [])
        ]
    return missing


class DeviceAugmentation:
    """Draws new versions of a batch of faces on the device they are on, as an albumentations pipeline would.

    Args:
        pipeline: of albumentations, with the chances and ranges to draw from.

    Raises:
        InputError: if part of the pipeline has no counterpart here; `without_counterpart` asks beforehand.
    """

    def __init__(self, pipeline: A.Compose):
        if missing := without_counterpart(pipeline):
            raise InputError(
                f"{', '.join(missing)} of the augmentation cannot be drawn on the device: leave it out, or let "
                "albumentations draw on the CPU."
            )
        self.p = pipeline.p
        self.steps = [(_COUNTERPARTS[type(transform)][0], transform) for transform in pipeline.transforms]

    def __call__(self, faces: Tensor, generator: torch.Generator) -> Tensor:
        """Draws a version of each face.

        Args:
            faces: uint8 (B, 3, H, W), in channels_last memory for speed; left as they are.
            generator: on the same device; the result depends on nothing else.

        Returns:
            float32 (B, 3, H, W) in [0, 1] on the same device: whole gray levels / 255, as from albumentations.
        """
        drawn = faces
        for step, transform in self.steps:
            drawn = step(transform, drawn, generator)
        if self.p < 1:
            drawn = _Draws(faces, self.p, generator).choose(drawn, faces)
        return drawn / 255
