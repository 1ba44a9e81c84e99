"""Selective classification: a model that may leave samples unanswered, and what remains wrong among its answers."""

import numpy as np

from fervid.errors import InputError


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the risk-coverage curve (El-Yaniv and Wiener 2010).

    Args:
        confidence: confidence of each of N samples, shape (N,).
        correct: whether the prediction of each sample is correct, bool (N,).

    Returns:
        For each of the T different confidences, from the largest to the smallest: the coverage, the fraction of samples
        that are answered if it is the threshold; and the risk, the fraction of wrong predictions among these.

    Examples:
        >>> import numpy as np
        >>> coverage, risk = risk_coverage(np.array([0.9, 0.8, 0.8, 0.4]), np.array([True, True, False, False]))
        >>> coverage.tolist(), risk.round(2).tolist()
        ([0.25, 0.75, 1.0], [0.0, 0.33, 0.5])
    """
    _, answered, errors = _by_threshold(confidence, correct)
    return answered / max(len(confidence), 1), errors / answered


def area_under_risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Computes the area under the risk-coverage curve, AURC (Geifman, Uziel and El-Yaniv 2019).

    Args:
        confidence: confidence of each of N samples, shape (N,).
        correct: whether the prediction of each sample is correct, bool (N,).

    Returns:
        The mean risk if 1, 2, ... N samples are answered, the most confident first; from 0 (best) to 1. Samples with
        equal confidence are answered together. NaN if there are no samples.

    Examples:
        >>> import numpy as np
        >>> round(area_under_risk_coverage(np.array([0.9, 0.8, 0.6, 0.4]), np.array([True, True, False, False])), 3)
        0.208
    """
    if not len(confidence):
        return float("nan")
    _, answered, errors = _by_threshold(confidence, correct)
    return float(np.average(errors / answered, weights=np.diff(answered, prepend=0)))


def risk_threshold(confidence: np.ndarray, correct: np.ndarray, max_risk: float) -> float | None:
    """Returns the confidence from which samples are answered with a limited risk.

    The risk is (errors + 1) / (answers + 1), one error more than was found, since a few correct samples are no evidence
    of a low risk: a risk of 10% needs at least nine answers, all of them correct.

    Args:
        confidence: confidence of each of N validation samples, shape (N,).
        correct: whether the prediction of each sample is correct, bool (N,).
        max_risk: largest risk, between 0 and 1.

    Returns:
        The smallest threshold, and thus the largest coverage, with that risk; None if there is none.

    Raises:
        InputError: if ``max_risk`` is not between 0 and 1.

    Examples:
        >>> import numpy as np
        >>> confidence, correct = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([1, 1, 1, 1, 0, 0], dtype=bool)
        >>> risk_threshold(confidence, correct, 0.4), risk_threshold(confidence, correct, 0.1)
        (0.5, None)
    """
    if not 0 < max_risk < 1:
        raise InputError(f"max_risk={max_risk} is out of range: use a number between 0 and 1, such as 0.1.")
    thresholds, answered, errors = _by_threshold(confidence, correct)
    allowed = np.flatnonzero((errors + 1) / (answered + 1) <= max_risk + 1e-9)
    return float(thresholds[allowed[-1]]) if len(allowed) else None


def _by_threshold(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns each different confidence, descending, and the numbers of answers and of errors from it upwards."""
    thresholds, numbers = np.unique(-np.asarray(confidence, dtype=float), return_inverse=True)
    answered = np.bincount(numbers, minlength=len(thresholds)).cumsum()
    errors = np.bincount(numbers, weights=~np.asarray(correct, dtype=bool), minlength=len(thresholds)).cumsum()
    return -thresholds, answered, errors
