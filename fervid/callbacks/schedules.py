"""Schedules of the learning rate that torch does not have."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: torch.optim.Optimizer, total_steps: int, *, warmup: float = 0.1, min_factor: float = 0.0
) -> LambdaLR:
    """Increases the learning rate linearly from near 0, and then decreases it along half a cosine.

    Sources: Goyal et al. 2017 (warm-up), Loshchilov and Hutter 2017 (cosine).

    Args:
        optimizer: the optimizer.
        total_steps: number of optimizer steps of the schedule.
        warmup: fraction of these steps in which the learning rate increases.
        min_factor: factor on the learning rate at the end.

    Raises:
        ValueError: if a setting is out of range.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = warmup_cosine(optimizer, total_steps=8, warmup=0.25)
        >>> rates = []
        >>> for _ in range(8):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
        ...     optimizer.step()
        ...     schedule.step()
        >>> rates
        [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    if not 0 <= warmup < 1 or not 0 <= min_factor <= 1:
        raise ValueError(f"warmup={warmup} must be 0 to below 1, and min_factor={min_factor} 0 to 1")
    rising = math.ceil(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        done = min((step - rising) / max(total_steps - rising, 1), 1.0)
        return min_factor + (1 - min_factor) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)
