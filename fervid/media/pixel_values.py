"""Converts pictures of any Pillow mode to 8-bit RGB; ambiguous pixel values are refused."""

import numpy as np
from PIL import Image, ImageChops, ImageOps

TIFF_PREVIEW, TIFF_POLARITY = 254, 262  # tags: sub-file type (bit 0: reduced copy), polarity (0: 0 is white)
WIDE_FORMATS = ("PNG", "PPM", "JPEG2000")  # formats in which values of more than 8 bits are scaled to 0 to 65535


def to_rgb(file: Image.Image) -> np.ndarray:
    """Decodes an opened picture: upright (EXIF), with fully transparent pixels in white.

    Args:
        file: the picture opened by Pillow.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: if the pixel values are ambiguous, or a TIFF has only a preview.
    """
    tags = getattr(file, "tag_v2", {})
    if tags.get(TIFF_PREVIEW, 0) & 1:
        raise ValueError("the first image is only a preview, as in camera raw files: save it as JPEG, PNG or TIFF")
    picture = ImageOps.exif_transpose(file)
    if picture.mode == "F" or picture.mode.startswith("I"):
        gray = _scaled(picture, file.format or "")
        if tags.get(TIFF_POLARITY) == 0:  # Pillow inverts these only up to 8 bits
            gray = 255 - gray
        return np.stack([gray] * 3, axis=-1)
    if picture.mode == "CMYK" and file.format == "JPEG" and "adobe" not in file.info:
        picture = ImageChops.invert(picture)  # Pillow assumes that all CMYK JPEGs are inverted, as Adobe writes them
    elif picture.mode.lower().endswith("a") or picture.mode == "P" or "transparency" in picture.info:
        colours = np.array(picture.convert("RGBA"))
        hidden = (
            colours[..., 3] == 0
        )  # colours of transparent pixels are arbitrary; fully transparent pictures stay as is
        colours[hidden] = colours[hidden] if hidden.all() else 255
        return colours[..., :3].copy()
    return np.asarray(picture.convert("RGB"))


def _scaled(picture: Image.Image, file_format: str) -> np.ndarray:
    """Scales grayscale values of more than 8 bits to uint8 (H, W)."""
    values = np.asarray(picture)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and file_format in WIDE_FORMATS):
        return (values / 257).clip(0, 255).round().astype(np.uint8)
    low, high = float(values.min()), float(values.max())  # NaN if one of them is
    if picture.mode == "F" and 0 <= low and high <= 1:
        return (255 * values).round().astype(np.uint8)
    if 0 <= low and high <= 255 and (values == np.round(values)).all():
        return values.astype(np.uint8)
    raise ValueError(f"the range of its pixel values, {low:g} to {high:g}, is ambiguous: save it with 8 or 16 bits")
