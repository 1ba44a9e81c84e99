"""Files of weights, read without running code."""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

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
