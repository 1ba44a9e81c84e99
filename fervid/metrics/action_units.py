"""Scores of action units, computed from counts that can be added over samples, subjects and runs."""

from collections.abc import Sequence

import numpy as np

from fervid.schema.parts import PRESENT


def unit_counts(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns for each sample and unit which of four outcomes it is: found, false alarm, missed, rightly absent.

    Args:
        labels: 1 if the unit is present, 0 if absent, NaN if unknown, (N, U).
        probabilities: probabilities (N, U) that the units are present; from 0.5 on, they are predicted to be.

    Returns:
        Counts (N, U, 4): true positives, false positives, false negatives and true negatives; all 0 where the label is
        unknown.
    """
    true, predicted = np.asarray(labels, dtype=float), np.asarray(probabilities) >= PRESENT
    present, absent = true == 1, true == 0
    outcomes = (present & predicted, absent & predicted, present & ~predicted, absent & ~predicted)
    return np.stack(outcomes, axis=-1).astype(float)


def unit_scores(counts: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Computes the scores of U units and their means.

    - ``f1``: harmonic mean of precision and recall of the presence.
    - ``balanced_accuracy``: mean of the recalls of presence and absence.

    Args:
        counts: counts (..., U, 4) of :func:`unit_counts`, added over samples.
        names: names of the units.

    Returns:
        The means over the units ``f1_units`` and ``balanced_accuracy_units``, and ``f1_<unit>`` and
        ``balanced_accuracy_<unit>`` of each unit; each of shape (...). NaN for a unit that is never present (F1), or
        that is never present or never absent (balanced accuracy); the means exclude it.

    Examples:
        >>> import numpy as np
        >>> counts = unit_counts(np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.2], [0.1], [0.6]])).sum(axis=0)
        >>> {name: round(float(value), 2) for name, value in unit_scores(counts, ["au_12"]).items()}
        {'f1_units': 0.5, 'f1_au_12': 0.5, 'balanced_accuracy_units': 0.5, 'balanced_accuracy_au_12': 0.5}
    """
    found, alarm, missed, absent = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(found + missed > 0, 2 * found / (2 * found + alarm + missed), np.nan)
        balanced = (found / (found + missed) + absent / (absent + alarm)) / 2
    scores = {}
    for name, values in (("f1", f1), ("balanced_accuracy", balanced)):
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, values, 0).sum(axis=-1) / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)
        scores[f"{name}_units"] = mean
        scores |= {f"{name}_{unit}": values[..., number] for number, unit in enumerate(names)}
    return scores
