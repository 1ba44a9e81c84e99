"""Corpora, manifests, splits and the LightningDataModules that serve them.

The classes are imported when first asked for, so that a process that only draws or decodes frames never pays for
importing torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "FrameDataModule": "fervid.data.datamodule",
    "ImageFolderDataModule": "fervid.data.image_folder",
    "SyntheticDataModule": "fervid.data.synthetic",
}
__all__ = ["FrameDataModule", "ImageFolderDataModule", "SyntheticDataModule"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
