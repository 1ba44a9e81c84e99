"""Atomic writing of checkpoints."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fervid.storage.atomic import writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the target folder, then renames it.

    Lightning's default writes to the system's temporary folder and copies the file. If the disk fills up or the process
    is killed during the copy, ``last.ckpt`` is truncated and the run cannot be resumed.

    Args:
        run: identity of the run as plain containers, stored in every checkpoint under the key ``run``.
    """

    def __init__(self, run: dict[str, Any] | None = None):
        super().__init__()
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves plain containers and tensors to ``path``.

        Raises:
            OSError: if the file cannot be written. An existing file at ``path`` is left unchanged.
        """
        checkpoint = checkpoint if self.run is None else {**checkpoint, "run": self.run}
        buffer = io.BytesIO()  # torch's file writer does not report a full disk
        torch.save(checkpoint, buffer)
        with writing(path) as partial:
            partial.write_bytes(buffer.getbuffer())
