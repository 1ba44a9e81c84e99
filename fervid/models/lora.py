"""LoRA: small trainable additions to linear layers whose own weights stay frozen, by peft."""

import importlib.util
from collections.abc import Sequence

from torch import nn

from fervid.errors import InputError, first_line

ADDITION = ".lora_A."  # part of the names of the weights of an addition


def add_lora(
    network: nn.Module,
    *,
    r: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    targets: Sequence[str] = ("attn.qkv", "attn.proj"),
) -> None:
    """Adds a product of two small matrices to linear layers, and freezes all other weights of the network.

    An addition is 0 at first, so that the network gives the same features as before. Source: Hu et al. 2022 (arXiv
    2106.09685).

    Args:
        network: the network, which is changed in place.
        r: rank of the additions.
        alpha: an addition is multiplied by ``alpha / r``.
        dropout: dropout before an addition.
        targets: ends of the names of the linear layers.

    Raises:
        InputError: if peft is not installed, or rejects the settings, for example because no layer has such a name.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError("backbone.lora needs peft: install it with pip install '.[lora]' in the repository folder.")
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds

    try:
        settings = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets))  # type: ignore[arg-type]
        inject_adapter_in_model(settings, network)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"backbone.lora cannot be added ({first_line(error)}): give the ends of the names of linear layers as "
            "backbone.lora.targets, or use a transformer of timm."
        ) from error


def merge_lora(network: nn.Module) -> None:
    """Adds the additions, if there are any, to the weights of their layers, and makes all weights trainable again.

    The network is then an ordinary one, with the same names of weights as without LoRA, and needs no peft.
    """
    layers = {name: layer for name, layer in network.named_modules() if hasattr(layer, "get_base_layer")}
    for name, layer in layers.items():
        layer.merge()  # type: ignore[operator]
        network.set_submodule(name, layer.get_base_layer())  # type: ignore[operator]
    if layers:
        network.requires_grad_(True)
