"""The device of a trained network, such as ``cpu`` or ``cuda:1``."""

import torch

from fervid.errors import InputError


def find_device(name: str | torch.device) -> torch.device:
    """Returns a device that exists.

    Raises:
        InputError: if the name is unknown, or there is no such CUDA device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name} is unknown: give cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name} is unknown: give cpu or cuda.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        instead = f"use cuda:0 to cuda:{count - 1}" if count else "use device=cpu"
        raise InputError(f"device={name} is not among the {count} CUDA devices that PyTorch finds: {instead}.")
    return device
