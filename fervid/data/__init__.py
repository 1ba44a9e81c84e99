"""Corpora, manifests, splits and the LightningDataModules that serve them.

The classes are imported when first asked for, so that a process that only draws or decodes frames never pays for
importing torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "ENTERFACEDataModule": "fervid.corpora.enterface",
    "FrameDataModule": "fervid.data.datamodule",
    "HFFacesDataModule": "fervid.corpora.hf_faces",
    "ISEDDataModule": "fervid.corpora.ised",
    "ImageFolderDataModule": "fervid.corpora.labelled_folder",
    "PreparedDataModule": "fervid.data.prepared",
    "RAVDESSDataModule": "fervid.corpora.ravdess",
    "SyntheticDataModule": "fervid.synthetic.corpus",
    "VideoFolderDataModule": "fervid.corpora.labelled_folder",
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
