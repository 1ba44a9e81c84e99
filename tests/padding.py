"""Pads sequences further than the longest of them, shared by tests of encoders and poolings."""

import torch
from torch.nn import functional as F

from fervid.models import sequences


def padded(batch, length=None):
    """Joins sequences (T, ...) to a batch of at least ``length`` positions."""
    x = sequences.padded(batch)
    missing = 0 if length is None else length - x.shape[1]
    return F.pad(x, (*[0, 0] * (x.dim() - 2), 0, missing), value=torch.nan)
