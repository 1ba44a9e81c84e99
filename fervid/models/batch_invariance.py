"""Checks that the outputs for a picture do not depend on the other pictures of its batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAX_PICTURES = 32  # a sample suffices: a layer that mixes pictures changes almost every output
TOLERANCE = (
    1e-3  # of an output, relative to the largest if that is above 1; rounding, also of TF32 on a GPU, is smaller
)


@dataclass(frozen=True)
class BatchInvariance:
    """The result of :func:`check_batches`.

    Attributes:
        pictures: number of pictures that were compared.
        difference: largest difference of an output; infinite if a single picture cannot be computed.
        tolerance: largest difference that rounding explains.
    """

    pictures: int
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the outputs do not depend on the batch."""
        return self.difference <= self.tolerance

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        compared = f"{self.pictures} pictures in shuffled batches and one at a time"
        if self.holds:
            return (
                f"Outputs do not depend on the batch: those of {compared} differ by at most {self.difference:.1g} "
                f"(tolerance {self.tolerance:.1g})."
            )
        found = f"differ by up to {self.difference:.2g} (tolerance {self.tolerance:.1g})"
        if not np.isfinite(self.difference):
            found = "cannot be computed"
        return (
            "Outputs depend on the other pictures of a batch, so scores are not those of single pictures: the outputs "
            f"of {compared} {found}. Look for BatchNorm that uses the statistics of the batch."
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the result for ``results.json``."""
        return {
            "holds": self.holds,
            "pictures": self.pictures,
            "difference": self.difference if np.isfinite(self.difference) else None,
            "tolerance": self.tolerance,
        }


def check_batches(
    compute: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray, outputs: np.ndarray, *, batch_size: int
) -> BatchInvariance:
    """Compares outputs from normal batches with those in shuffled batches and of single pictures.

    Args:
        compute: function from pictures (B, ...) to outputs (B, C).
        pictures: N pictures, of which at most :data:`MAX_PICTURES` are compared.
        outputs: outputs from normal batches, (N, C).
        batch_size: number of pictures per shuffled batch.
    """
    order = np.random.default_rng(0).permutation(len(pictures))[:MAX_PICTURES]
    shuffled = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    single = [order[number : number + 1] for number in range(len(order))]
    tolerance = TOLERANCE * max(1.0, float(np.abs(outputs).max(initial=0.0)))
    differences = [0.0]
    for rows in [*shuffled, *single]:
        try:
            differences.append(float(np.abs(compute(pictures[rows]) - outputs[rows]).max()))
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError):  # of BatchNorm, for which one value has no variance
            differences.append(float("inf"))
    difference = max(differences, key=lambda value: float("inf") if np.isnan(value) else value)
    return BatchInvariance(len(order), difference, tolerance)
