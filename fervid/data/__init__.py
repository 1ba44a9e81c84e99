"""Datamodules that serve the frames of corpora as batches.

The classes are imported on first access, so that processes that only render or decode frames do not import torch.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not name.endswith("DataModule"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "several_corpora" if name == "SeveralDataModule" else "corpus_datamodules"
    return getattr(import_module(f"fervid.data.{module}"), name)
