"""Parameter groups of the optimizer: a learning rate for each layer, and weight decay that spares some weights."""

import logging
from typing import Any

from torch import nn

from fervid.models.encoder import Encoder
from fervid.models.network import Network

log = logging.getLogger(__name__)


def parameter_groups(network: Network, *, layer_decay: float, decay_norms: bool) -> list[dict[str, Any]]:
    """Returns the parameter groups, from the first layer of each encoder to the head.

    Args:
        network: the network. Each stage of an encoder with weight matrices is a layer; stages without, such as
            normalisation, belong to the layer before. The pooling and the head are the last layer.
        layer_decay: factor on the learning rate from one layer to the one before, as in BEiT (Bao et al. 2022).
        decay_norms: whether weight decay also applies to biases, to normalisation layers, and to the weights that the
            network excludes from it, such as the positions of a transformer.

    Returns:
        Groups with ``params``, ``name`` (the configuration group of the encoder, such as ``backbone``, or ``head``),
        ``lr_factor``, and ``weight_decay`` if it is 0. If all weights are treated alike, there is one group of each
        name.
    """
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for encoder in network.encoders.values():
        numbers = _layer_numbers(encoder)
        last = max(numbers.values(), default=0)
        parameters = list(encoder.named_parameters())
        if layer_decay < 1 and last == 0 and parameters:
            log.warning(
                "task.layer_decay=%s cannot be applied within the %s, which is a single layer: its learning rate is "
                "%s times that of the head.",
                *(layer_decay, encoder.group.replace("_", " "), layer_decay),
            )
        for name, parameter in parameters:
            if not parameter.requires_grad:  # weights under the adapters of LoRA
                continue
            number = next((number for prefix, number in numbers.items() if name.startswith(prefix)), last)
            library_name = encoder.library_name(name.removeprefix("network."))
            spared = not decay_norms and (parameter.ndim < 2 or library_name in encoder.no_weight_decay)
            groups.setdefault((encoder.group, layer_decay ** (last + 1 - number), spared), []).append(parameter)
    poolings = (branch.pooling for branch in network.branches.values())
    for module in (*poolings, network.head):
        for parameter in module.parameters():
            groups.setdefault(("head", 1.0, not decay_norms and parameter.ndim < 2), []).append(parameter)
    return [
        {"params": parameters, "name": name, "lr_factor": factor} | ({"weight_decay": 0.0} if spared else {})
        for (name, factor, spared), parameters in groups.items()
    ]


def _layer_numbers(encoder: Encoder) -> dict[str, int]:
    """Returns the number of the layer for the prefix of each stage's parameters."""
    numbers: dict[str, int] = {}
    number = -1
    for name, stage in zip(encoder.stages, encoder.stage_modules(), strict=True):
        number += any(parameter.ndim > 1 for parameter in stage.parameters())
        numbers[f"network.{name}."] = max(number, 0)
    return numbers
