"""Whether a probability means what it says, and how to make it so."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from fervid.errors import InputError

_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """How far the largest probability is from the share that is right, on average (Guo et al. 2017, equation 3).

    Args:
        probabilities: of each frame or clip, shape (N, C).
        labels: the number of the true emotion, shape (N,).
        bins: how many equally wide bins of the largest probability from 0 to 1.

    Returns:
        The mean of the bins' :math:`|accuracy - confidence|`, each weighted by its frames; from 0 (best) to 1. NaN
        if there is no frame.

    Raises:
        InputError: if there is no bin.

    Examples:
        >>> import numpy as np
        >>> probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        >>> round(expected_calibration_error(probabilities, np.array([0, 0, 0, 1])), 2)  # 90 % sure, 75 % right
        0.15
    """
    # Not torchmetrics' function, which gives the same: a report would wait seconds for torch.
    table = reliability(probabilities, labels, bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["frames"]).sum() / table["frames"].sum()) if len(table) else float("nan")


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> pd.DataFrame:
    """The reliability diagram as a table (Guo et al. 2017, figure 1).

    Args:
        probabilities: of each frame or clip, shape (N, C).
        labels: the number of the true emotion, shape (N,).
        bins: how many equally wide bins of the largest probability from 0 to 1.

    Returns:
        One row a bin that is not empty, those of :func:`expected_calibration_error`: ``low`` and ``high``, its ends;
        ``confidence``, the mean of the largest probability; ``accuracy``, the share that is right; ``frames``.

    Raises:
        InputError: if there is no bin.
    """
    _check_bins(bins)
    probabilities = _bounded(probabilities)
    # In the precision of a network: a confidence of float32(0.6) lies on the border of two bins, as 0.6 does.
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
    """Finds the temperature that makes the true emotions likeliest (Guo et al. 2017, section 4.2).

    It is fitted on validation frames, never on those of the test.

    Args:
        probabilities: of each frame or clip, shape (N, C).
        labels: the number of the true emotion, shape (N,).

    Returns:
        T from 0.05 to 20 that minimises the negative log likelihood of softmax(log(p) / T): above 1 for a model that
        is too sure of itself, below 1 for one that is not sure enough.

    Raises:
        InputError: if there is no frame.

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
        raise InputError("a temperature cannot be fitted to no frame: give the predictions of the validation frames.")
    logits, labels = _logits(probabilities), np.asarray(labels)

    def negative_log_likelihood(log_temperature: float) -> float:
        log_chances = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -log_chances[np.arange(len(labels)), labels].mean()

    best = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Softens (T > 1) or sharpens (T < 1) probabilities; which emotion is the likeliest does not change.

    Args:
        probabilities: of each frame or clip, shape (N, C).
        temperature: T, as :func:`fit_temperature` finds it.

    Returns:
        softmax(log(p) / T), shape (N, C); each row sums to 1 (Guo et al. 2017, equation 9).

    Raises:
        InputError: if the temperature is not above 0.
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature} cannot be applied: give a number above 0.")
    return softmax(_logits(probabilities) / temperature, axis=1)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    # A network's probability, which is float32, is no smaller unless it is 0.
    return np.log(np.clip(np.asarray(probabilities, dtype=float), np.finfo(np.float32).tiny, None))


def _bounded(probabilities: np.ndarray) -> np.ndarray:
    # A confidence of exactly 1, or a rounding above it, belongs to the last bin.
    return np.clip(np.asarray(probabilities, dtype=float), 0, _BELOW_ONE)


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise InputError(f"bins={bins} cannot be drawn: give a whole number above 0.")
