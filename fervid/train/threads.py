"""Number of CPU threads used for training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

MAX_SINGLE_THREAD_LOAD = 800_000  # parameters x batch size; LeNet: 0.6 million at batch size 10, 2 million at 32


@contextmanager
def torch_threads(setting: int | str, model: nn.Module, batch_size: int, accelerator: str) -> Iterator[None]:
    """Sets the number of torch's CPU threads, and restores it on exit.

    For a small network, distributing a step over all cores costs more than it saves, above all when other processes
    are running: each of the dozens of operations in a step then waits until the scheduler has run all threads.
    Measured for a step of LeNet at batch size 10 on two cores, with one and with two threads: 2.1 and 1.8 ms on an idle
    machine, 3.4 and 4.9 ms beside two busy processes, 28 and 806 ms beside several multi-threaded programs. The number
    depends only on the configuration, so that a repeated or resumed run rounds identically.

    Args:
        setting: number of threads, or ``"auto"``: one thread if the network is trained on the CPU and its parameters
            times the batch size are below :data:`MAX_SINGLE_THREAD_LOAD`, otherwise torch's default of one per core.
        model: model to train.
        batch_size: number of frames per step.
        accelerator: accelerator of the Trainer, such as ``"cpu"``.
    """
    before = threads = torch.get_num_threads()
    if isinstance(setting, int):
        threads = setting
    elif accelerator == "cpu":
        load = batch_size * sum(parameter.numel() for parameter in model.parameters())
        threads = 1 if load < MAX_SINGLE_THREAD_LOAD else before
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
