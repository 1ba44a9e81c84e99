import numpy as np
import pytest

from fervid.errors import InputError
from fervid.metrics.selective import area_under_risk_coverage, risk_coverage, risk_threshold


def answers(seed, samples=300, ties=False):
    """Confidences, and whether each prediction is correct: the more confident, the more often."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 1, samples)
    return (confidence.round(1) if ties else confidence), rng.uniform(size=samples) < confidence


@pytest.mark.parametrize("ties", [False, True])
def test_curve_agrees_with_the_definition(ties):
    confidence, correct = answers(0, ties=ties)
    coverage, risk = risk_coverage(confidence, correct)
    thresholds = sorted(set(confidence), reverse=True)
    for number, threshold in enumerate(thresholds):
        answered = confidence >= threshold
        assert coverage[number] == pytest.approx(answered.mean())
        assert risk[number] == pytest.approx(1 - correct[answered].mean())
    assert len(risk) == len(thresholds)


def test_area_is_the_mean_of_the_risks():
    confidence, correct = answers(1)
    wrong = ~correct[np.argsort(-confidence)]
    expected = np.mean([wrong[:answered].mean() for answered in range(1, len(wrong) + 1)])
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(expected)
    # The best order, the worst, and none: all have the same confidence.
    assert area_under_risk_coverage(correct.astype(float), correct) < expected
    assert area_under_risk_coverage(-correct.astype(float), correct) > expected
    assert area_under_risk_coverage(np.ones(len(correct)), correct) == pytest.approx(wrong.mean())
    # Equal confidences are answered together, with the risk of all of them.
    tied = np.array([0.9, 0.5, 0.5, 0.5])
    assert area_under_risk_coverage(tied, np.array([True, False, True, False])) == pytest.approx((0 + 3 * 0.5) / 4)
    assert np.isnan(area_under_risk_coverage(np.empty(0), np.empty(0, dtype=bool)))


@pytest.mark.parametrize("max_risk", [0.1, 0.2, 0.4])
def test_threshold_has_the_largest_coverage_with_the_risk(max_risk):
    confidence, correct = answers(2)
    found = risk_threshold(confidence, correct, max_risk)

    def bound(threshold):
        chosen = confidence >= threshold
        return ((~correct[chosen]).sum() + 1) / (chosen.sum() + 1)

    assert bound(found) <= max_risk
    assert all(bound(lower) > max_risk for lower in confidence[confidence < found])


def test_a_few_correct_answers_promise_no_low_risk():
    confidence = np.linspace(0.9, 0.5, 9)
    assert risk_threshold(confidence, np.ones(9, dtype=bool), 0.1) == pytest.approx(0.5)
    assert risk_threshold(confidence[:8], np.ones(8, dtype=bool), 0.1) is None
    for wrong in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="max_risk"):
            risk_threshold(confidence, np.ones(9, dtype=bool), wrong)


def test_the_risk_of_further_samples_is_near_the_allowed_one():
    risks = []
    for seed in range(40):
        found = risk_threshold(*answers(seed, 500), 0.2)
        confidence, correct = answers(1000 + seed, 2000)
        risks.append(1 - correct[confidence >= found].mean())
    assert np.mean(risks) == pytest.approx(0.2, abs=0.01)
