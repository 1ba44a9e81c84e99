"""fervid: facial emotion recognition by transfer learning, with PyTorch Lightning and Hydra."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: what is here is imported by every command, also by one that only prints its help.
    if name == "load_run":
        from fervid.run_folder import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
