"""Process-wide settings of the training commands, which calling :func:`fervid.train.training.train` does not change."""

import logging
import os
import warnings

import torch

from fervid.processes.memory import keep_memory


def set_up_process(*, verbose: bool) -> None:
    """Configures memory allocation and logging, and silences warnings of libraries that the user cannot act on.

    Args:
        verbose: whether to log progress and warnings. In distributed training only the first rank does.
    """
    keep_memory()
    if not torch.cuda.is_available():
        # Otherwise torch queries the driver at every optimizer step, which takes 0.3 ms.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    logging.getLogger("fervid").setLevel(logging.INFO if verbose else logging.ERROR)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # fervid itself reports what concerns the user.
    for text in (
        ".*does not have many workers.*",  # measured: on a CPU the network is the bottleneck, not the loading
        ".*in eval mode at the start of training.*",  # intended for the frozen prefix
        "GPU available but not used.*",  # fervid suggests trainer=gpu instead
        ".*AccumulateGrad node's stream does not match.*",  # DDP with torch 2.11, in the first step
        ".*smaller than the logging interval.*",  # nothing is logged per step
        ".*sync_dist=True.*",  # every rank validates and tests on all frames, so all log the same values
        ".*isinstance.treespec.*",  # Lightning 2.6 with torch 2.9 and later
        ".*Checkpoint directory.*exists and is not empty.*",  # a resumed run writes to its existing folder
    ):
        warnings.filterwarnings("ignore", text)
