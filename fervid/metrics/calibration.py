"""Calibration errors, reliability diagrams and temperature scaling."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from fervid.errors import InputError

_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Computes the expected calibration error (Guo et al. 2017, equation 3).

    It is the mean difference between confidence, the largest probability, and accuracy.

    Args:
        probabilities: probabilities of each frame or clip, shape (N, C).
        labels: class index of the label, shape (N,).
        bins: number of equal-width confidence bins from 0 to 1.

    Returns:
        Mean of :math:`|accuracy - confidence|` over the bins, weighted by their frames; from 0 (best) to 1. NaN if
        there are no frames.

    Raises:
        InputError: if ``bins`` is below 1.

    Examples:
        >>> import numpy as np
        >>> probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        >>> round(expected_calibration_error(probabilities, np.array([0, 0, 0, 1])), 2)  # confidence 0.9, accuracy 0.75
        0.15
    """
    # Not from torchmetrics, which gives the same value: importing torch would delay a report by seconds.
    table = reliability(probabilities, labels, bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["frames"]).sum() / table["frames"].sum()) if len(table) else float("nan")


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> pd.DataFrame:
    """Computes the reliability diagram as a table (Guo et al. 2017, figure 1).

    Args:
        probabilities: probabilities of each frame or clip, shape (N, C).
        labels: class index of the label, shape (N,).
        bins: number of equal-width confidence bins from 0 to 1.

    Returns:
        One row per non-empty bin, as used by :func:`expected_calibration_error`: ``low`` and ``high``, its limits;
        ``confidence``, the mean confidence; ``accuracy``, the fraction of correct frames; ``frames``, their number.

    Raises:
        InputError: if ``bins`` is below 1.
    """
    _check_bins(bins)
    probabilities = _bounded(probabilities)
    # In float32, the precision of a network: float32(0.6) must fall on the same bin limit as 0.6.
    confidence = probabilities.max(axis=1).astype(np.float32)
    number = np.searchsorted(np.linspace(0, 1, bins + 1, dtype=np.float32), confidence, side="right") - 1
    frames = pd.DataFrame(
        {"confidence": confidence.astype(float), "accuracy": probabilities.argmax(axis=1) == np.asarray(labels)}
    )
    grouped = frames.groupby(number)
    table = grouped.mean()
    table.insert(0, "low", table.index / bins)
    table.insert(1, "high", (table.index + 1) / bins)
    table["frames"] = grouped.size()
    return table.reset_index(drop=True)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Fits the temperature of temperature scaling (Guo et al. 2017, section 4.2).

    Fit it on validation frames, never on test frames.

    Args:
        probabilities: probabilities of each frame or clip, shape (N, C).
        labels: class index of the label, shape (N,).

    Returns:
        T from 0.05 to 20 that minimises the negative log-likelihood of softmax(log(p) / T): above 1 for an
        overconfident model, below 1 for an underconfident one.

    Raises:
        InputError: if there are no frames.

    Examples:
        >>> import numpy as np
        >>> probabilities, labels = np.array([[0.9, 0.1]] * 4), np.array([0, 0, 0, 1])
        >>> temperature = fit_temperature(probabilities, labels)
        >>> print(f"{temperature:.1f}")
        2.0
        >>> apply_temperature(probabilities, temperature)[0].round(2).tolist()
        [0.75, 0.25]
    """
    if len(probabilities) == 0:
        raise InputError(
            "a temperature cannot be fitted without frames: pass the predictions of the validation frames."
        )
    logits, labels = _logits(probabilities), np.asarray(labels)

    def negative_log_likelihood(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -log_probabilities[np.arange(len(labels)), labels].mean()

    best = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Softens (T > 1) or sharpens (T < 1) probabilities; the most probable emotion does not change.

    Args:
        probabilities: probabilities of each frame or clip, shape (N, C).
        temperature: temperature T, such as from :func:`fit_temperature`.

    Returns:
        softmax(log(p) / T), shape (N, C); each row sums to 1 (Guo et al. 2017, equation 9).

    Raises:
        InputError: if the temperature is not above 0.
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature} is out of range: use a number above 0.")
    return softmax(_logits(probabilities) / temperature, axis=1)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    # The smallest positive float32: only probabilities of 0 are smaller.
    return np.log(np.clip(np.asarray(probabilities, dtype=float), np.finfo(np.float32).tiny, None))


def _bounded(probabilities: np.ndarray) -> np.ndarray:
    # A confidence of 1, or slightly above it after rounding, belongs to the last bin.
    return np.clip(np.asarray(probabilities, dtype=float), 0, _BELOW_ONE)


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise InputError(f"bins={bins} is out of range: use a whole number above 0.")
