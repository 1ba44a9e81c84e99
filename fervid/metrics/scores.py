"""Recall, precision, F1 and accuracy, all read off confusion matrices."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """The scores of confusion matrices (..., C, C); NaN where there is nothing to divide by.

    Attributes:
        recall: of each emotion, shape (..., C): share of its frames that are predicted as it; NaN if it does not occur.
        precision: of each emotion, shape (..., C): share of the frames predicted as it that are it; NaN if it is never
            predicted.
        f1: of each emotion, shape (..., C): harmonic mean of the two; NaN if it neither occurs nor is predicted.
        accuracy: share of all frames that are right, shape (...); also called WAR (weighted average recall).
        uar: unweighted average recall, shape (...): mean of the recalls of the emotions that occur.
        macro_f1: mean of the F1 scores of the emotions that occur, shape (...).
    """

    recall: np.ndarray
    precision: np.ndarray
    f1: np.ndarray
    accuracy: np.ndarray
    uar: np.ndarray
    macro_f1: np.ndarray

    def means(self) -> dict[str, float]:
        """``accuracy``, ``uar`` and ``f1`` (the macro F1) of a single matrix, by the names that metrics carry."""
        return {"accuracy": float(self.accuracy), "uar": float(self.uar), "f1": float(self.macro_f1)}


def scores(confusions: np.ndarray) -> Scores:
    """Reads the scores off confusion matrices.

    Args:
        confusions: counts (..., C, C), a row a true emotion, a column a predicted one.

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
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    true, predicted = confusions.sum(axis=-1), confusions.sum(axis=-2)
    occurs = true > 0
    recall, f1 = _share(right, true), _share(2 * right, true + predicted)
    occurring = occurs.sum(axis=-1)
    return Scores(
        recall=recall,
        precision=_share(right, predicted),
        f1=f1,
        accuracy=_share(right.sum(axis=-1), true.sum(axis=-1)),
        uar=_share(np.where(occurs, recall, 0).sum(axis=-1), occurring),
        macro_f1=_share(np.where(occurs, f1, 0).sum(axis=-1), occurring),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part / whole; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
