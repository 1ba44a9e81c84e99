"""Recall, precision, F1 and accuracy, computed from confusion matrices."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Scores of confusion matrices (..., C, C); NaN where the denominator is 0.

    Attributes:
        recall: fraction of the frames of each emotion that are predicted correctly, shape (..., C); NaN if the emotion
            does not occur.
        precision: fraction of the predictions of each emotion that are correct, shape (..., C); NaN if it is never
            predicted.
        f1: harmonic mean of recall and precision, shape (..., C); NaN if the emotion neither occurs nor is predicted.
        accuracy: fraction of correct frames, shape (...); also called WAR (weighted average recall).
        uar: unweighted average recall, shape (...): mean recall of the emotions that occur.
        macro_f1: mean F1 score of the emotions that occur, shape (...).
    """

    recall: np.ndarray
    precision: np.ndarray
    f1: np.ndarray
    accuracy: np.ndarray
    uar: np.ndarray
    macro_f1: np.ndarray

    def means(self) -> dict[str, float]:
        """Returns ``accuracy``, ``uar`` and ``f1`` (the macro F1) of a single matrix."""
        return {"accuracy": float(self.accuracy), "uar": float(self.uar), "f1": float(self.macro_f1)}


def scores(confusions: np.ndarray) -> Scores:
    """Computes the scores of confusion matrices.

    Args:
        confusions: counts (..., C, C); rows are labels, columns predictions.

    Returns:
        The scores of each matrix. The means of an empty matrix are NaN.

    Examples:
        >>> import numpy as np
        >>> found = scores(np.array([[8, 2], [1, 1]]))  # 10 frames of the first emotion, 2 of the second
        >>> found.recall.tolist()
        [0.8, 0.5]
        >>> found.means() == {"accuracy": 0.75, "uar": 0.65, "f1": float(found.macro_f1)}
        True
    """
    confusions = np.asarray(confusions, dtype=float)
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    true, predicted = confusions.sum(axis=-1), confusions.sum(axis=-2)
    occurs = true > 0
    recall, f1 = _ratio(correct, true), _ratio(2 * correct, true + predicted)
    occurring = occurs.sum(axis=-1)
    return Scores(
        recall=recall,
        precision=_ratio(correct, predicted),
        f1=f1,
        accuracy=_ratio(correct.sum(axis=-1), true.sum(axis=-1)),
        uar=_ratio(np.where(occurs, recall, 0).sum(axis=-1), occurring),
        macro_f1=_ratio(np.where(occurs, f1, 0).sum(axis=-1), occurring),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divides part by whole; NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
