"""Split conformal prediction: sets of classes that contain the label with a chosen probability."""

import math

import numpy as np

from fervid.errors import InputError


def min_probability(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """Calibrates conformal sets: returns the probability from which a class belongs to the set of a sample.

    The score of a sample is 1 minus the probability of its label (LAC or THR, Sadinle, Lei and Wasserman 2019), whose
    sets are the smallest on average of all with this coverage. They may cover rare classes less often than others.

    Args:
        probabilities: probabilities of N validation samples, shape (N, C).
        labels: class index of the label, shape (N,).
        coverage: fraction of sets that contain the label, between 0 and 1.

    Returns:
        The threshold. If further samples are exchangeable with these, the set of a sample contains its label with at
        least this probability, on average over the draw of all of them.

    Raises:
        InputError: if ``coverage`` is not between 0 and 1, or there are too few samples.

    Examples:
        >>> import numpy as np
        >>> chances = np.linspace(0.5, 1, 9)
        >>> round(min_probability(np.stack([chances, 1 - chances], axis=1), np.zeros(9, dtype=int), 0.8), 4)
        0.5625
    """
    needed = min_samples(coverage)
    if len(labels) < needed:
        raise InputError(
            f"conformal sets with a coverage of {coverage:g} need at least {needed} validation samples, and there are "
            f"{len(labels)}: use a smaller coverage, or a run with a larger validation subset."
        )
    scores = np.sort(1 - np.asarray(probabilities, dtype=float)[np.arange(len(labels)), np.asarray(labels)])
    return float(1 - scores[_rank(len(scores), coverage) - 1])


def conformal_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Returns which classes belong to the set of each sample; the most probable one always does.

    Args:
        probabilities: shape (N, C).
        threshold: result of :func:`min_probability`.

    Returns:
        Bool (N, C).

    Examples:
        >>> import numpy as np
        >>> conformal_sets(np.array([[0.5, 0.4, 0.1], [0.35, 0.34, 0.31]]), 0.4).tolist()
        [[True, True, False], [True, False, False]]
    """
    values = np.asarray(probabilities, dtype=float)
    # A table of predictions has rounded probabilities.
    found = values >= threshold - 1e-9
    found[np.arange(len(values)), values.argmax(axis=1)] = True
    return found


def min_samples(coverage: float) -> int:
    """Returns the number of validation samples that conformal sets with a coverage need at least.

    Raises:
        InputError: if ``coverage`` is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise InputError(f"conformal={coverage} is out of range: use a coverage between 0 and 1, such as 0.9.")
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def _rank(samples: int, coverage: float) -> int:
    return math.ceil((samples + 1) * coverage - 1e-9)
