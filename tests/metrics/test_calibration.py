import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from fervid.errors import InputError
from fervid.metrics.calibration import apply_temperature, expected_calibration_error, fit_temperature, reliability


def random_predictions(seed, frames=400, classes=5, sharpness=2.0):
    """Calibrated logits, made overconfident by the sharpness."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (frames, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels are drawn from the softmax
    return softmax(sharpness * logits, axis=1), labels


class TestError:
    @pytest.mark.parametrize("bins", [1, 10, 15])
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_the_definition(self, seed, bins):
        probabilities, labels = random_predictions(seed)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        expected = 0.0
        for number in range(bins):
            inside = (confidence >= number / bins) & (confidence < (number + 1) / bins)
            if inside.any():
                expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("bins", [1, 10, 15])
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_torchmetrics(self, seed, bins):
        probabilities, labels = random_predictions(seed)
        theirs = multiclass_calibration_error(
            torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=5, n_bins=bins, norm="l1"
        )
        assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(theirs.item(), abs=1e-6)

    def test_by_hand(self):
        probabilities = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]
        # Bin 0.5 to 0.75: confidences 0.6 and 0.7, none correct. Bin above: 0.9 and 0.8, both correct.
        expected = 0.5 * 0.65 + 0.5 * 0.15
        assert expected_calibration_error(probabilities, [0, 1, 1, 0], bins=4) == pytest.approx(expected)

    def test_confidence_of_one_is_in_the_last_bin(self):
        probabilities = np.array([[1.0, 0.0], [0.97, 0.03]])
        assert expected_calibration_error(probabilities, [1, 0]) == pytest.approx(0.985 - 0.5)
        assert reliability(probabilities, [1, 0])["frames"].tolist() == [2]

    def test_confidence_slightly_above_one_is_accepted(self):
        probabilities = np.array([[1 + 1e-7, 0.0, 0.0], [0.0, 1.0, 0.0]])
        assert expected_calibration_error(probabilities, [0, 1]) == pytest.approx(0, abs=1e-6)

    def test_calibrated_network(self):
        surer = expected_calibration_error(*random_predictions(0, frames=20000))
        honest = expected_calibration_error(*random_predictions(0, frames=20000, sharpness=1.0))
        assert honest < 0.02 < 0.1 < surer

    def test_no_frames(self):
        assert np.isnan(expected_calibration_error(np.empty((0, 3)), np.empty(0)))
        table = reliability(np.empty((0, 3)), np.empty(0))
        assert table.empty
        assert table.columns.tolist() == ["low", "high", "confidence", "accuracy", "frames"]

    @pytest.mark.parametrize("reading", [expected_calibration_error, reliability])
    def test_no_bins(self, reading):
        with pytest.raises(InputError, match="bins=0 is out of range"):
            reading(*random_predictions(0), bins=0)


class TestReliability:
    @pytest.mark.parametrize("bins", [1, 10, 15])
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_scikit_learn(self, seed, bins):
        probabilities, labels = random_predictions(seed)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        accuracy, mean_confidence = calibration_curve(right, confidence, n_bins=bins)
        table = reliability(probabilities, labels, bins)
        assert table["accuracy"].to_numpy() == pytest.approx(accuracy)
        assert table["confidence"].to_numpy() == pytest.approx(mean_confidence)
        assert table["frames"].sum() == 400
        assert (table["low"] <= table["confidence"]).all()
        assert (table["confidence"] <= table["high"]).all()
        assert (table["high"] - table["low"]).to_numpy() == pytest.approx(1 / bins)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("bins", [4, 10, 15])
    @pytest.mark.parametrize("seed", range(3))
    def test_gaps_give_the_calibration_error(self, seed, bins, dtype):
        probabilities, labels = random_predictions(seed, classes=3, sharpness=20.0)
        # Many confidences on bin limits, and many of exactly 1.
        probabilities = np.concatenate([probabilities, np.round(probabilities, 1)]).astype(dtype)
        labels = np.concatenate([labels, labels])
        table = reliability(probabilities, labels, bins)
        gaps = (table["confidence"] - table["accuracy"]).abs() * table["frames"] / table["frames"].sum()
        assert gaps.sum() == pytest.approx(expected_calibration_error(probabilities, labels, bins), abs=1e-6)

    def test_empty_bins_are_omitted(self):
        table = reliability([[0.9, 0.1], [0.45, 0.55], [0.9, 0.1]], [0, 0, 1], bins=5)
        assert table.to_numpy() == pytest.approx(np.array([[0.4, 0.6, 0.55, 0, 1], [0.8, 1.0, 0.9, 0.5, 2]]))


class TestTemperature:
    @pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
    @pytest.mark.parametrize("seed", range(2))
    def test_known_temperature_is_recovered(self, seed, sharpness):
        probabilities, labels = random_predictions(seed, frames=20000, sharpness=sharpness)
        temperature = fit_temperature(probabilities, labels)
        assert temperature == pytest.approx(sharpness, rel=0.04)
        calibrated = apply_temperature(probabilities, temperature)
        assert expected_calibration_error(calibrated, labels) < 0.02

    @pytest.mark.parametrize("seed", range(4))
    def test_likelihood_is_maximal(self, seed):
        probabilities, labels = random_predictions(seed, frames=200)

        def loss(temperature):
            return log_loss(labels, apply_temperature(probabilities, temperature), labels=range(5))

        temperature = fit_temperature(probabilities, labels)
        others = [*np.geomspace(0.05, 20, 60), 0.99 * temperature, 1.01 * temperature]
        assert loss(temperature) < min(loss(other) for other in others)

    def test_probabilities_of_zero(self):
        sure = np.eye(3)[[0, 1, 2, 0]]
        assert fit_temperature(sure, [0, 1, 2, 1]) > 1  # one of four is wrong
        assert fit_temperature(sure, [0, 1, 2, 0]) >= 0.05  # all are correct: the temperature reaches its lower limit
        assert fit_temperature(sure, [1, 2, 0, 1]) <= 20  # all are wrong
        for temperature in (0.05, 1.0, 20.0):
            softened = apply_temperature(sure, temperature)
            assert np.isfinite(softened).all()
            assert softened.sum(axis=1) == pytest.approx(1)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0, 20.0])
    def test_most_probable_class_does_not_change(self, temperature, dtype):
        probabilities = random_predictions(0)[0].astype(dtype)
        applied = apply_temperature(probabilities, temperature)
        assert applied.sum(axis=1) == pytest.approx(1)
        assert (applied.argmax(axis=1) == probabilities.argmax(axis=1)).all()
        softer = applied.max(axis=1).mean() < probabilities.max(axis=1).mean()
        assert softer == (temperature > 1)

    def test_logits_are_divided(self):
        logits = np.random.default_rng(0).normal(size=(50, 4))
        assert apply_temperature(softmax(logits, axis=1), 2.5) == pytest.approx(softmax(logits / 2.5, axis=1))

    def test_no_frames(self):
        with pytest.raises(InputError, match="cannot be fitted without frames"):
            fit_temperature(np.empty((0, 3)), np.empty(0))

    @pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
    def test_invalid_temperature(self, temperature):
        with pytest.raises(InputError, match="is out of range"):
            apply_temperature(np.eye(3), temperature)
