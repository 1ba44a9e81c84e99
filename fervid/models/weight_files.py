"""Reading of weight files without executing code from them."""

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from fervid.errors import InputError, first_line
from fervid.schema.results import read_results
from fervid.schema.weights import WeightsInfo, trained_weights_info

CHECKPOINTS = "checkpoints"  # in a run folder


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


def read_weights_info(path: Path) -> WeightsInfo:
    """Returns what the weights of a file were trained on, if fervid wrote them.

    Args:
        path: a file of weights that can be read: a checkpoint in a run folder, or a ``.safetensors`` file of
            ``fervid.export``. Nothing is known of other files.
    """
    try:
        if path.suffix == ".ckpt" and path.parent.name == CHECKPOINTS:
            return trained_weights_info(read_results(path.resolve().parents[1]))
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get("weights_info")
            return WeightsInfo(**json.loads(text)) if text else WeightsInfo()
    except (InputError, KeyError, TypeError, ValueError):  # incomplete, or written by another program
        pass
    return WeightsInfo()
