"""On how many of the processor's threads a network trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

SMALL = 800_000  # parameters x batch size; LeNet at a batch of 10 has 0.6 million, at 32 two million


@contextmanager
def torch_threads(setting: int | str, model: nn.Module, batch_size: int, accelerator: str) -> Iterator[None]:
    """Sets the number of torch's threads, and restores it afterwards.

    A step of a small network is shared out over the cores at a higher cost than it saves, above all beside other work,
    where each of its dozens of operations waits until the scheduler has found time for all threads. LeNet's step at a
    batch of 10 on two cores: alone 2.1 ms with one thread and 1.8 with two, beside two busy processes 3.4 and 4.9,
    beside several programs that share out their work too 28 and 806. The number depends on the configuration alone, so
    that a run that is repeated or resumed rounds as before.

    Args:
        setting: a number of threads, or ``"auto"``: one if the parameters times the batch size are fewer than
            :data:`SMALL` and the network is trained on the CPU; else as many as torch has chosen, one for each core.
        model: that is trained.
        batch_size: frames a step.
        accelerator: of the Trainer, such as ``"cpu"``.
    """
    before = threads = torch.get_num_threads()
    if isinstance(setting, int):
        threads = setting
    elif accelerator == "cpu" and batch_size * sum(parameter.numel() for parameter in model.parameters()) < SMALL:
        threads = 1
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
