"""Corpora, manifests, splits and the LightningDataModules that serve them.

The classes are imported when first asked for, so that a process that only draws or decodes frames never pays for
importing torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "ENTERFACEDataModule": "fervid.data.enterface",
    "FrameDataModule": "fervid.data.datamodule",
    "HFFacesDataModule": "fervid.data.hf_faces",
    "ISEDDataModule": "fervid.data.ised",
    "ImageFolderDataModule": "fervid.data.labelled_folder",
    "PreparedDataModule": "fervid.data.prepared",
    "RAVDESSDataModule": "fervid.data.ravdess",
    "SyntheticDataModule": "fervid.data.synthetic",
    "VideoFolderDataModule": "fervid.data.labelled_folder",
}
__all__ = [
    "ENTERFACEDataModule",
    "FrameDataModule",
    "HFFacesDataModule",
    "ISEDDataModule",
    "ImageFolderDataModule",
    "PreparedDataModule",
    "RAVDESSDataModule",
    "SyntheticDataModule",
    "VideoFolderDataModule",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
