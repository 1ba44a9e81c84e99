"""Reading of weight files without executing code from them."""

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
        InputError: if the file is damaged or contains other objects. The message is a reason without the name of the
            file.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols and TorchScript, handled below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen different exceptions for damaged files
        message = str(error)
        resave = "in the program that wrote it, save torch.save(model.state_dict(), 'weights.pt') instead"
        if "TorchScript" in message:
            raise InputError(f"it is a TorchScript program, not a state dict: {resave}") from error
        # torch suggests weights_only=False, which would let the file execute code.
        if isinstance(error, pickle.UnpicklingError) and message.startswith("Weights only load failed"):
            match = re.search(r"GLOBAL (\S+)", message)
            name = f" ({match[1]})" if match else ""
            raise InputError(f"it contains pickled Python objects{name} besides tensors: {resave}") from error
        raise InputError(f"it is damaged or has another format: {first_line(error) or type(error).__name__}") from error
