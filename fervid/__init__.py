"""fervid: facial emotion recognition by transfer learning, with PyTorch Lightning and Hydra.

``docs/code_layout.md`` lists what each folder contains.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_MODULES = {
    "EmotionClassifier": "fervid.tasks.classification",
    "Predictor": "fervid.predict.predictor",
    "RAVDESSDataModule": "fervid.data.corpus_datamodules",
    "load_run": "fervid.runs.load",
}
__all__ = ["EmotionClassifier", "Predictor", "RAVDESSDataModule", "load_run"]


def __getattr__(name: str) -> Any:
    # Imported on access, since every command imports this package, even one that only prints its help.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
