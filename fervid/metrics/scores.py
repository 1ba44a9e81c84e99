"""Scores, all of them read off one confusion matrix."""

import numpy as np


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Reads the scores off a confusion matrix.

    Args:
        confusion: counts (num_classes, num_classes), a row a true emotion, a column a predicted one.

    Returns:
        ``accuracy`` (WAR, weighted average recall: share of all frames that are right), ``uar`` (unweighted average
        recall: mean of the recalls of the emotions) and ``f1`` (mean of the F1 scores of the emotions). Emotions
        that do not occur are left out of the means; NaN for an empty matrix.
    """
    confusion = np.asarray(confusion, dtype=float)
    present = confusion.sum(axis=1) > 0
    if not present.any():
        return {"accuracy": float("nan"), "uar": float("nan"), "f1": float("nan")}
    right = np.diag(confusion)
    f1 = 2 * right[present] / (confusion.sum(axis=0) + confusion.sum(axis=1))[present]
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        "uar": float(recalls(confusion)[present].mean()),
        "f1": float(f1.mean()),
    }


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each emotion, shape (num_classes,); NaN where an emotion does not occur."""
    confusion = np.asarray(confusion, dtype=float)
    with np.errstate(invalid="ignore"):
        return np.diag(confusion) / confusion.sum(axis=1)
