"""Augmentation of whole batches on the device, with the same distributions as an albumentations pipeline.

albumentations transforms one picture at a time on the CPU, which cannot keep up with a GPU. Here each transform is
applied to a batch at once. The parameters of each picture are drawn independently from the ranges of the albumentations
object, and the results are those of albumentations 2.0.8 and OpenCV up to rounding errors. The host never reads values
back from the device, so that it can run ahead of it.

No library does this: torchvision draws one set of parameters per call, for all pictures, and on the host; kornia reads
back from the device which pictures to transform, and its noise has a fixed strength.
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
    """Draws the parameters of a transform for a batch, of shape (B, 1, 1, 1), independently for every picture.

    Args:
        faces: the batch, (B, 3, H, W).
        p: probability that the transform is applied to a picture.
        generator: random generator on the device of the faces.
    """

    def __init__(self, faces: Tensor, p: float, generator: torch.Generator):
        self.generator = generator
        self.empty = faces.new_empty((len(faces), 1, 1, 1), dtype=torch.float32)
        # Most transforms are applied to every picture and need no mask.
        self.unchanged = self.empty.new_empty(self.empty.shape, dtype=torch.bool) if p < 1 else None
        if self.unchanged is not None:
            self.unchanged.bernoulli_(1 - p, generator=generator)

    def uniform(self, limits: tuple[float, float], neutral: float) -> Tensor:
        """Draws numbers from a range; ``neutral`` for pictures that are left unchanged."""
        drawn = torch.empty_like(self.empty).uniform_(*sorted(limits), generator=self.generator)
        return drawn if self.unchanged is None else drawn.masked_fill_(self.unchanged, neutral)

    def angle(self, limits: tuple[float, float]) -> Tensor:
        """Draws angles in radians from a range in degrees; 0 for pictures that are left unchanged."""
        return self.uniform((math.radians(limits[0]), math.radians(limits[1])), 0)

    def integers(self, limits: tuple[float, float]) -> Tensor:
        """Draws integers from a range including both ends; 0 for pictures that are left unchanged."""
        low, high = sorted(int(limit) for limit in limits)
        drawn = torch.empty_like(self.empty).random_(low, high + 1, generator=self.generator)
        return drawn if self.unchanged is None else drawn.masked_fill_(self.unchanged, 0)

    def choose(self, changed: Tensor, faces: Tensor) -> Tensor:
        """Returns the transformed pictures, with the original ones in place of those that are left unchanged."""
        return changed if self.unchanged is None else torch.where(self.unchanged, faces, changed)


_BORDERS = {
    cv2.BORDER_CONSTANT: ("zeros", True),
    cv2.BORDER_REPLICATE: ("border", True),
    cv2.BORDER_REFLECT: ("reflection", False),
    cv2.BORDER_REFLECT_101: ("reflection", True),
}
"""OpenCV's border modes as arguments of ``grid_sample``: the padding mode, and whether -1 and 1 refer to the centres of
the outermost pixels (``align_corners=True``) or to their outer edges."""


def _warp(
    faces: Tensor,
    border_mode: int,
    angle: Tensor,
    *,
    scale: tuple[Tensor, Tensor] | None = None,
    shear: tuple[Tensor, Tensor] | None = None,
    shift: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Applies an affine transform about the centre, like ``cv2.warpAffine`` with albumentations' matrix.

    The matrix maps the input to the output: scaling, then rotation, shear and translation. This function composes its
    inverse, which maps each output pixel to its position in the input.

    Args:
        faces: uint8 (B, 3, H, W).
        border_mode: OpenCV's border mode for positions outside the input.
        angle: anticlockwise rotation in radians, (B, 1, 1, 1) like all following arguments.
        scale: horizontal and vertical factor.
        shear: horizontal and vertical shear in radians.
        shift: translation to the right and down in pixels.

    Returns:
        uint8 (B, 3, H, W), channels_last.
    """
    height, width = faces.shape[2:]
    padding, align_corners = _BORDERS[border_mode]
    half_width, half_height = (width - align_corners) / 2, (height - align_corners) / 2  # pixels per unit of the grid
    ratio = half_width / half_height
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Movement in the input for a step to the right and a step down in the output: (B, 1, 1, 2), x and y.
    right, down = torch.cat((cos, sin * ratio), -1), torch.cat((sin * (-1 / ratio), cos), -1)
    if shear is not None:
        across, along = torch.tan(shear[0]) / ratio, torch.tan(shear[1]) * ratio
        area = 1 - across * along
        right, down = (right - along * down) / area, (down - across * right) / area
    if scale is not None:
        factors = torch.cat(scale, -1)
        right, down = right / factors, down / factors
    # Coordinates of the output pixels, (1, 1, W, 1) and (1, H, 1, 1).
    end_x, end_y = (width - 1) / 2 / half_width, (height - 1) / 2 / half_height
    x = torch.linspace(-end_x, end_x, width, device=faces.device).view(1, 1, width, 1)
    y = torch.linspace(-end_y, end_y, height, device=faces.device).view(1, height, 1, 1)
    if shift is not None:
        x, y = x - shift[0] / half_width, y - shift[1] / half_height
    grid = torch.addcmul(down * y, right, x)
    warped = F.grid_sample(faces.float(), grid, padding_mode=padding, align_corners=align_corners)
    return warped.round_().to(torch.uint8, memory_format=torch.channels_last)


def _horizontal_flip(transform: A.HorizontalFlip, faces: Tensor, generator: torch.Generator) -> Tensor:
    return _Draws(faces, transform.p, generator).choose(faces.flip(3), faces)


def _affine(transform: A.Affine, faces: Tensor, generator: torch.Generator) -> Tensor:
    draws = _Draws(faces, transform.p, generator)
    angle = draws.angle(transform.rotate)
    scale_x = draws.uniform(transform.scale["x"], 1)
    scale = scale_x, scale_x if transform.keep_ratio else draws.uniform(transform.scale["y"], 1)
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
    levels = faces * draws.uniform((1 + low, 1 + high), 1)  # relative to black, not to the mean
    if any(transform.brightness_limit):
        unit = 255 if transform.brightness_by_max else faces.mean((1, 2, 3), keepdim=True, dtype=torch.float32)
        levels += draws.uniform(transform.brightness_limit, 0) * unit
    # Truncated instead of rounded, as in albumentations.
    return levels.clamp_(0, 255).to(torch.uint8)


def _gauss_noise(transform: A.GaussNoise, faces: Tensor, generator: torch.Generator) -> Tensor:
    draws = _Draws(faces, transform.p, generator)
    like = faces if transform.per_channel else faces[:, :1]
    noise = torch.empty_like(like, dtype=torch.float32).normal_(generator=generator)
    noise *= draws.uniform(transform.std_range, 0) * 255
    if any(transform.mean_range):
        noise += draws.uniform(transform.mean_range, 0) * 255
    # Truncated towards zero before it is added, as in albumentations.
    return (noise.trunc_() + faces).clamp_(0, 255).to(torch.uint8)


def _erasing(transform: A.Erasing, faces: Tensor, generator: torch.Generator) -> Tensor:
    height, width = faces.shape[2:]
    smallest, largest = (fraction * height * width for fraction in transform.scale)
    # The largest area that fits into the picture with any ratio of width to height.
    largest = min(largest, height**2 * transform.ratio[0], width**2 / transform.ratio[1])
    if largest < smallest:
        return faces
    draws = _Draws(faces, transform.p, generator)
    area, ratio = draws.uniform((smallest, largest), 0), draws.uniform(transform.ratio, 1)
    high, wide = torch.sqrt(area / ratio).round_(), torch.sqrt(area * ratio).round_()
    top = torch.floor(draws.uniform((0, 1), 0) * (height - high + 1))
    left = torch.floor(draws.uniform((0, 1), 0) * (width - wide + 1))
    y = torch.arange(height, device=faces.device).view(1, 1, height, 1)
    x = torch.arange(width, device=faces.device).view(1, 1, 1, width)
    erased = (y >= top) & (y < top + high) & (x >= left) & (x < left + wide)
    if transform.fill != "random":
        return faces.masked_fill(erased, 0)
    return torch.where(erased, torch.empty_like(faces).random_(0, 256, generator=generator), faces)


_Counterpart = Callable[[Any, Tensor, torch.Generator], Tensor]

_COUNTERPARTS: dict[type, tuple[_Counterpart, set[str]]] = {
    A.HorizontalFlip: (_horizontal_flip, set()),
    A.Affine: (_affine, {"rotate", "scale", "keep_ratio", "shear", "translate_percent", "translate_px"}),
    A.Rotate: (_rotate, {"limit"}),
    A.RandomBrightnessContrast: (_brightness_contrast, {"brightness_limit", "contrast_limit", "brightness_by_max"}),
    A.GaussNoise: (_gauss_noise, {"std_range", "mean_range", "per_channel"}),
    A.Erasing: (_erasing, {"scale", "ratio"}),
}
"""The function that replaces each transform, and the settings that it supports with any value."""

_ALWAYS_SUPPORTED = {"p", "mask_interpolation", "fill_mask", "rotate_method"}
"""The setting ``p``, and settings of masks and boxes, which faces do not have."""

_SUPPORTED_VALUES: dict[str, list[Any]] = {
    "border_mode": list(_BORDERS),
    "interpolation": [cv2.INTER_LINEAR],
    "fill": [0, "random"],
    "fit_output": [False],
    "balanced_scale": [False],
    "crop_border": [False],
    "ensure_safe_range": [False],
    "noise_scale_factor": [1],
}
"""Settings that are supported only with these values."""


def without_counterpart(pipeline: A.BaseCompose) -> list[str]:
    """Returns the parts of a pipeline that :class:`DeviceAugmentation` does not support.

    Args:
        pipeline: albumentations pipeline.

    Returns:
        Names of unsupported transforms, and of supported transforms with an unsupported setting:
        ``["CLAHE", "GaussNoise(noise_scale_factor=0.5)"]``. Empty if the pipeline is fully supported.
    """
    if type(pipeline) is not A.Compose:
        return [type(pipeline).__name__]
    missing = []
    for transform in pipeline.transforms:
        name = type(transform).__name__
        if type(transform) not in _COUNTERPARTS:
            missing.append(name)
            continue
        supported = _COUNTERPARTS[type(transform)][1] | _ALWAYS_SUPPORTED
        settings = transform.get_transform_init_args().items()
        missing += [
            f"{name}({key}={value})"
            for key, value in settings
            if key not in supported and value not in _SUPPORTED_VALUES.get(key, [])
        ]
    return missing


class DeviceAugmentation:
    """Augments batches of faces on their device in the same way as an albumentations pipeline.

    Args:
        pipeline: albumentations pipeline with the probabilities and ranges to draw from.

    Raises:
        InputError: if part of the pipeline is not supported; :func:`without_counterpart` checks this in advance.
    """

    def __init__(self, pipeline: A.Compose):
        if missing := without_counterpart(pipeline):
            raise InputError(
                f"{', '.join(missing)} of the augmentation is not supported on the device: remove it, or let "
                "albumentations augment on the CPU."
            )
        self.p = pipeline.p
        self.steps = [(_COUNTERPARTS[type(transform)][0], transform) for transform in pipeline.transforms]

    def __call__(self, faces: Tensor, generator: torch.Generator) -> Tensor:
        """Augments each face.

        Args:
            faces: uint8 (B, 3, H, W), preferably in channels_last memory format for speed; not modified.
            generator: random generator on the same device, which alone determines the draws.

        Returns:
            float32 (B, 3, H, W) in [0, 1] on the same device: integer levels divided by 255, as from albumentations.
        """
        augmented = faces
        for step, transform in self.steps:
            augmented = step(transform, augmented, generator)
        if self.p < 1:
            augmented = _Draws(faces, self.p, generator).choose(augmented, faces)
        return augmented / 255
