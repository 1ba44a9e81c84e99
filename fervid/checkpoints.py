"""Checkpoints that are whole or not there, and that are read without running code."""

import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fervid.atomic import writing
from fervid.errors import InputError, first_line


def read_checkpoint(path: Path) -> Any:
    """Reads a ``.pt``, ``.pth`` or ``.ckpt`` file of tensors and plain containers, or ``.safetensors``, onto the CPU.

    Raises:
        InputError: if the file is damaged or holds other objects; the message is a reason that does not name the file.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols and TorchScript: said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        said = str(error)
        resave = "in the program that made it, save torch.save(model.state_dict(), 'weights.pt') instead"
        if "TorchScript" in said:
            raise InputError(f"it is a TorchScript program, not a state dict: {resave}") from error
        # torch's own advice, weights_only=False, would let the file run code.
        if isinstance(error, pickle.UnpicklingError) and said.startswith("Weights only load failed"):
            name = re.search(r"GLOBAL (\S+)", said)
            what = f" ({name[1]})" if name else ""
            raise InputError(f"it holds pickled Python objects{what} beside or instead of tensors: {resave}") from error
        raise InputError(f"it is damaged or of another kind: {first_line(error) or type(error).__name__}") from error


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then puts it there in one step.

    Lightning's own way writes to the temporary folder and copies: a disk that fills up, or a kill, while it copies
    over ``last.ckpt`` leaves half a file and nothing to go on from.

    Args:
        settings: of the run, plain containers, to be kept under the same name in every checkpoint.
    """

    def __init__(self, settings: dict[str, Any] | None = None):
        super().__init__()
        self.settings = settings

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves plain containers and tensors under ``path``.

        Raises:
            OSError: if it cannot be written; what stood there before still does.
        """
        checkpoint = checkpoint if self.settings is None else {**checkpoint, "settings": self.settings}
        buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save(checkpoint, buffer)
        with writing(path) as partial:
            partial.write_bytes(buffer.getbuffer())
