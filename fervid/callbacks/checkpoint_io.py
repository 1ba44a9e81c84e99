"""Checkpoints that are whole or not there."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fervid.storage.atomic import writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then puts it there in one step.

    Lightning's own way writes to the temporary folder and copies: a disk that fills up, or a kill, while it copies
    over ``last.ckpt`` leaves half a file and nothing to go on from.

    Args:
        run: what tells the run from others, plain containers, to be kept under the same name in every checkpoint.
    """

    def __init__(self, run: dict[str, Any] | None = None):
        super().__init__()
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves plain containers and tensors under ``path``.

        Raises:
            OSError: if it cannot be written; what stood there before still does.
        """
        checkpoint = checkpoint if self.run is None else {**checkpoint, "run": self.run}
        buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save(checkpoint, buffer)
        with writing(path) as partial:
            partial.write_bytes(buffer.getbuffer())
