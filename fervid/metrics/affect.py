"""Scores of valence and arousal, computed from sums that can be added over samples, subjects and runs."""

from collections.abc import Sequence

import numpy as np

from fervid.schema.columns import DIMENSIONS


def moments(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Returns the sums of each sample: 1, x, y, x^2, y^2 and x y of the label x and the prediction y.

    Args:
        labels: labels (N, D); NaN where unknown.
        predictions: predictions (N, D).

    Returns:
        Sums (N, D, 6), 0 where the label is unknown.
    """
    x, y = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    sums = np.stack([np.ones_like(x), x, y, x**2, y**2, x * y], axis=-1)
    return np.where(np.isnan(x)[..., None], 0.0, sums)


def affect_scores(sums: np.ndarray, names: Sequence[str] = DIMENSIONS) -> dict[str, np.ndarray]:
    """Computes the scores of D dimensions and their means.

    - ``ccc``: concordance correlation coefficient (Lin 1989), 2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2); 0 if
      the predictions or the labels are constant.
    - ``rmse``: root of the mean squared error.
    - ``pearson``: correlation coefficient; NaN if the predictions or the labels are constant.

    Args:
        sums: sums (..., D, 6) of :func:`moments`, added over samples.
        names: names of the dimensions.

    Returns:
        For each score its mean over the dimensions, such as ``ccc``, and that of each dimension, such as
        ``ccc_valence``; each of shape (...). NaN for a dimension without labels, which its mean excludes.

    Examples:
        >>> import numpy as np
        >>> labels, predictions = np.array([[0.0], [0.5], [1.0]]), np.array([[0.1], [0.4], [0.7]])
        >>> scores = affect_scores(moments(labels, predictions).sum(axis=0), ["valence"])
        >>> print(f"{scores['ccc']:.3f} {scores['rmse']:.3f} {scores['pearson']:.3f}")
        0.845 0.191 1.000
    """
    count, *totals = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, xx, yy, xy = (total / count for total in totals)
        label_variance, variance = _variance(x, xx), _variance(y, yy)
        covariance = np.where((label_variance > 0) & (variance > 0), xy - x * y, 0.0)
        spread = label_variance + variance + (x - y) ** 2
        ccc = np.where(spread > 0, 2 * covariance / spread, 0.0)
        values = {
            "ccc": np.where(count > 0, ccc, np.nan),
            "rmse": np.sqrt(np.maximum(0, xx - 2 * xy + yy)),
            "pearson": np.clip(covariance / np.sqrt(label_variance * variance), -1, 1),
        }
    found = {}
    for name, value in values.items():
        found[name] = _mean(value)
        found |= {f"{name}_{dimension}": value[..., number] for number, dimension in enumerate(names)}
    return found


def _variance(mean: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Returns the variance; exactly 0 for equal numbers, of which rounding may leave a little."""
    variance = square - mean**2
    return np.where(variance > 1e-12, variance, 0.0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the last axis without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=-1) / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)
