from itertools import pairwise

import numpy as np
import pytest
from scipy.special import softmax

from fervid.errors import InputError
from fervid.metrics.conformal import conformal_sets, min_probability, min_samples


def predictions(seed, samples, classes=5, sharpness=3.0):
    """Overconfident probabilities and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (samples, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return softmax(sharpness * logits, axis=1), labels


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("samples", [19, 200])
def test_sets_of_exchangeable_samples_have_the_coverage(coverage, samples):
    covered = []
    for seed in range(300):
        values, labels = predictions(seed, samples + 50)
        threshold = min_probability(values[:samples], labels[:samples], coverage)
        sets = conformal_sets(values[samples:], threshold)
        covered.append(sets[np.arange(50), labels[samples:]].mean())
    # The set always has the most probable class, so it may be larger than needed.
    assert coverage - 0.02 <= np.mean(covered) <= coverage + 0.07 + (0.2 if coverage == 0.5 else 0)


def test_sets_are_never_empty_and_grow_with_the_coverage():
    values, labels = predictions(0, 400)
    sizes = [conformal_sets(values, min_probability(values, labels, each)).sum(axis=1) for each in (0.5, 0.8, 0.95)]
    assert sizes[0].min() == 1
    assert all((small <= large).all() for small, large in pairwise(sizes))


def test_the_threshold_is_the_quantile_with_one_sample_more():
    values = np.stack([np.linspace(0.55, 0.95, 9), 1 - np.linspace(0.55, 0.95, 9)], axis=1)
    labels = np.zeros(9, dtype=int)
    assert min_probability(values, labels, 0.9) == pytest.approx(0.55)  # the 9th of the scores, ceil(10 * 0.9)
    assert min_probability(values, labels, 0.8) == pytest.approx(0.60)
    more = np.linspace(0.5, 0.95, 10)
    assert min_probability(more[:, None], np.zeros(10, dtype=int), 0.8) == pytest.approx(0.55)  # ceil(11 * 0.8) = 9
    assert min_samples(0.9) == 9
    with pytest.raises(InputError, match="at least 9 validation samples, and there are 8"):
        min_probability(values[:8], labels[:8], 0.9)
    for wrong in (0, 1, 2.0, float("nan")):
        with pytest.raises(InputError, match="out of range"):
            min_samples(wrong)
