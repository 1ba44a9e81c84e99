"""Sharpness-aware minimisation (SAM): the gradients of a step are those where the loss is highest nearby.

torch, torchvision, timm and Lightning do not have it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn


def sharpness_aware_gradients(
    closure: Callable[[], Any], model: nn.Module, rho: float, second_pass: AbstractContextManager[None]
) -> Any:
    """Computes gradients as in SAM (Foret et al. 2021, arXiv 2010.01412, algorithm 1).

    The first pass computes the gradients g at the weights w, the second one at w + rho * g / ||g||. Afterwards the
    weights are w again, to the last bit, with the gradients of the second pass. The optimizer then takes its step as
    usual, and there is no further state. Both passes draw the same random numbers, and only the first one changes the
    statistics of BatchNorm. The direction does not depend on the scale of the gradients, which float16 changes.

    Args:
        closure: computes the loss and new gradients of a batch.
        model: model with the weights.
        rho: length of the step to the higher loss.
        second_pass: entered for the second pass.

    Returns:
        What the closure returns in the first pass.
    """
    on_gpu = {parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(sorted(on_gpu)):
        first = closure()
    learned = [(weights, weights.grad) for weights in model.parameters() if weights.grad is not None]
    before = [weights.detach().clone() for weights, _ in learned]
    with torch.no_grad():
        factor = rho / (nn.utils.get_total_norm([gradient for _, gradient in learned]) + 1e-12)
        for weights, gradient in learned:
            weights.add_(gradient * factor)
    try:
        with second_pass, _kept_statistics(model):
            closure()
    finally:
        with torch.no_grad():
            for (weights, _), own in zip(learned, before, strict=True):
                weights.copy_(own)
    return first


@contextmanager
def _kept_statistics(model: nn.Module) -> Iterator[None]:
    """Restores the running statistics of BatchNorm, which still normalises with those of the batch."""
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    buffers = [buffer for layer in layers for buffer in layer.buffers()]
    before = [buffer.clone() for buffer in buffers]
    yield
    for buffer, own in zip(buffers, before, strict=True):
        buffer.copy_(own)
