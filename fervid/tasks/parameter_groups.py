"""Parameter groups of the optimizer: a learning rate for each layer, and weight decay that spares some weights."""

import logging
from typing import Any

from torch import nn

from fervid.models.backbone import Backbone
from fervid.models.heads import Head

log = logging.getLogger(__name__)


def parameter_groups(backbone: Backbone, head: Head, *, layer_decay: float, decay_norms: bool) -> list[dict[str, Any]]:
    """Returns the parameter groups, from the first layer of the backbone to the head.

    Args:
        backbone: the backbone. Each stage with weight matrices is a layer; stages without, such as normalisation,
            belong to the layer before.
        head: the head, which is the last layer.
        layer_decay: factor on the learning rate from one layer to the one before, as in BEiT (Bao et al. 2022).
        decay_norms: whether weight decay also applies to biases, to normalisation layers, and to the weights that the
            network excludes from it, such as the positions of a transformer.

    Returns:
        Groups with ``params``, ``name`` (``backbone`` or ``head``), ``lr_factor``, and ``weight_decay`` if it is 0. If
        all weights are treated alike, there is one group of each name.
    """
    numbers = _layer_numbers(backbone)
    last = max(numbers.values(), default=0)
    if layer_decay < 1 and last == 0:
        log.warning(
            "task.layer_decay=%s cannot be applied within the backbone, which is a single layer: its learning rate is "
            "%s times that of the head.",
            *(layer_decay, layer_decay),
        )
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for name, parameter in backbone.named_parameters():
        if not parameter.requires_grad:  # weights under the adapters of LoRA
            continue
        number = next((number for prefix, number in numbers.items() if name.startswith(prefix)), last)
        library_name = backbone.library_name(name.removeprefix("network."))
        spared = not decay_norms and (parameter.ndim < 2 or library_name in backbone.no_weight_decay)
        groups.setdefault(("backbone", layer_decay ** (last + 1 - number), spared), []).append(parameter)
    for parameter in head.parameters():
        groups.setdefault(("head", 1.0, not decay_norms and parameter.ndim < 2), []).append(parameter)
    return [
        {"params": parameters, "name": name, "lr_factor": factor} | ({"weight_decay": 0.0} if spared else {})
        for (name, factor, spared), parameters in groups.items()
    ]


def _layer_numbers(backbone: Backbone) -> dict[str, int]:
    """Returns the number of the layer for the prefix of each stage's parameters."""
    numbers: dict[str, int] = {}
    number = -1
    for name, stage in zip(backbone.stages, backbone.stage_modules(), strict=True):
        number += any(parameter.ndim > 1 for parameter in stage.parameters())
        numbers[f"network.{name}."] = max(number, 0)
    return numbers
