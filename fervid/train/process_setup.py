"""What a command that trains sets for its whole process, and a library call leaves alone."""

import logging
import os
import warnings

import torch

from fervid.processes.memory import keep_memory


def set_up_process(*, speaks: bool) -> None:
    """Lets the process keep its memory, and leaves out what libraries say of their own working.

    Args:
        speaks: whether it tells the user what it does; of several ranks the first does.
    """
    keep_memory()
    if not torch.cuda.is_available():
        # Else torch asks the driver anew at every step of an optimizer: 0.3 ms.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    logging.getLogger("fervid").setLevel(logging.INFO if speaks else logging.ERROR)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What concerns the user fervid says itself.
    for text in (
        ".*does not have many workers.*",  # measured: on a CPU the network is the slow part
        ".*in eval mode at the start of training.*",  # the frozen prefix is meant to be
        ".*smaller than the logging interval.*",  # nothing is logged by the step
        ".*sync_dist=True.*",  # every rank validates and tests on all frames, and logs the same
        ".*isinstance.treespec.*",  # Lightning 2.6 with torch 2.9 and later
        ".*Checkpoint directory.*exists and is not empty.*",  # a resumed run writes to its folder
    ):
        warnings.filterwarnings("ignore", text)
