"""Scores of predictions against the votes of several people."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.schema.predictions import probabilities
from fervid.schema.votes import distributions, mistake

MIN_PROBABILITY = 1e-12  # a table of predictions contains 0 where the logarithm would be below the precision of CSV


def vote_scores(predictions: pd.DataFrame, class_names: Sequence[str]) -> dict[str, float]:
    """Compares predictions with the distribution of the votes (:func:`fervid.schema.votes.distributions`).

    Args:
        predictions: one row per sample (:mod:`fervid.schema.predictions`).
        class_names: the C classes.

    Returns:
        ``cross_entropy``, the mean of -sum(votes * log(predictions)), and ``kl_divergence`` (Kullback-Leibler), the
        mean of sum(votes * log(votes / predictions)), in nats. Empty if there are no samples, or not every sample has
        votes.
    """
    if predictions.empty or mistake(predictions, class_names):
        return {}
    votes = distributions(predictions, class_names).astype(float)
    predicted = np.log(probabilities(predictions, class_names).clip(MIN_PROBABILITY))
    cross_entropy = -(votes * predicted).sum(axis=1)
    entropy = -(votes * np.log(votes.clip(MIN_PROBABILITY))).sum(axis=1)
    return {
        "cross_entropy": float(cross_entropy.mean()),
        "kl_divergence": float((cross_entropy - entropy).mean()),
    }
