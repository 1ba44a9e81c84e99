"""Seeds for random draws in every epoch, so that a resumed run draws the same as an uninterrupted one."""

import numpy as np


def draw_seed(*keys: int) -> int:
    """Combines numbers such as (seed, epoch, row) into one 32-bit seed."""
    return int(np.random.SeedSequence([key & 0xFFFFFFFF for key in keys]).generate_state(1)[0])
