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
    """Logits that tell the truth, made surer than they are by the sharpness."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (frames, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from their softmax
    return softmax(sharpness * logits, axis=1), labels


class TestError:
    @pytest.mark.parametrize("bins", [1, 10, 15])
    @pytest.mark.parametrize("seed", range(3))
    def test_by_its_definition(self, seed, bins):
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
    def test_it_is_torchmetrics(self, seed, bins):
        probabilities, labels = random_predictions(seed)
        theirs = multiclass_calibration_error(
            torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=5, n_bins=bins, norm="l1"
        )
        assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(theirs.item(), abs=1e-6)

    def test_by_hand(self):
        probabilities = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]
        # From 0.5 to 0.75 the mean of 0.6 and 0.7, none right; above it the mean of 0.9 and 0.8, both right.
        expected = 0.5 * 0.65 + 0.5 * 0.15
        assert expected_calibration_error(probabilities, [0, 1, 1, 0], bins=4) == pytest.approx(expected)

    def test_quite_sure_is_in_the_last_bin(self):
        probabilities = np.array([[1.0, 0.0], [0.97, 0.03]])
        assert expected_calibration_error(probabilities, [1, 0]) == pytest.approx(0.985 - 0.5)
        assert reliability(probabilities, [1, 0])["frames"].tolist() == [2]

    def test_a_rounding_above_one_is_still_a_probability(self):
        probabilities = np.array([[1 + 1e-7, 0.0, 0.0], [0.0, 1.0, 0.0]])
        assert expected_calibration_error(probabilities, [0, 1]) == pytest.approx(0, abs=1e-6)

    def test_a_network_that_tells_the_truth(self):
        surer = expected_calibration_error(*random_predictions(0, frames=20000))
        honest = expected_calibration_error(*random_predictions(0, frames=20000, sharpness=1.0))
        assert honest < 0.02 < 0.1 < surer

    def test_no_frame(self):
        assert np.isnan(expected_calibration_error(np.empty((0, 3)), np.empty(0)))
        table = reliability(np.empty((0, 3)), np.empty(0))
        assert table.empty
        assert table.columns.tolist() == ["low", "high", "confidence", "accuracy", "frames"]

    @pytest.mark.parametrize("reading", [expected_calibration_error, reliability])
    def test_no_bin(self, reading):
        with pytest.raises(InputError, match="bins=0 cannot be drawn"):
            reading(*random_predictions(0), bins=0)


class TestReliability:
    @pytest.mark.parametrize("bins", [1, 10, 15])
    @pytest.mark.parametrize("seed", range(3))
    def test_it_is_scikit_learns(self, seed, bins):
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
    def test_its_gaps_are_the_error(self, seed, bins, dtype):
        probabilities, labels = random_predictions(seed, classes=3, sharpness=20.0)
        # Many on the border of two bins, and many of exactly 1.
        probabilities = np.concatenate([probabilities, np.round(probabilities, 1)]).astype(dtype)
        labels = np.concatenate([labels, labels])
        table = reliability(probabilities, labels, bins)
        gaps = (table["confidence"] - table["accuracy"]).abs() * table["frames"] / table["frames"].sum()
        assert gaps.sum() == pytest.approx(expected_calibration_error(probabilities, labels, bins), abs=1e-6)

    def test_empty_bins_are_left_out(self):
        table = reliability([[0.9, 0.1], [0.45, 0.55], [0.9, 0.1]], [0, 0, 1], bins=5)
        assert table.to_numpy() == pytest.approx(np.array([[0.4, 0.6, 0.55, 0, 1], [0.8, 1.0, 0.9, 0.5, 2]]))


class TestTemperature:
    @pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
    @pytest.mark.parametrize("seed", range(2))
    def test_it_is_found_again(self, seed, sharpness):
        probabilities, labels = random_predictions(seed, frames=20000, sharpness=sharpness)
        temperature = fit_temperature(probabilities, labels)
        assert temperature == pytest.approx(sharpness, rel=0.04)
        calibrated = apply_temperature(probabilities, temperature)
        assert expected_calibration_error(calibrated, labels) < 0.02

    @pytest.mark.parametrize("seed", range(4))
    def test_no_other_is_likelier(self, seed):
        probabilities, labels = random_predictions(seed, frames=200)

        def loss(temperature):
            return log_loss(labels, apply_temperature(probabilities, temperature), labels=range(5))

        temperature = fit_temperature(probabilities, labels)
        others = [*np.geomspace(0.05, 20, 60), 0.99 * temperature, 1.01 * temperature]
        assert loss(temperature) < min(loss(other) for other in others)

    def test_it_survives_zeros(self):
        sure = np.eye(3)[[0, 1, 2, 0]]
        assert fit_temperature(sure, [0, 1, 2, 1]) > 1  # one of four is wrong
        assert fit_temperature(sure, [0, 1, 2, 0]) >= 0.05  # none is, and no temperature is too low
        assert fit_temperature(sure, [1, 2, 0, 1]) <= 20  # all are
        for temperature in (0.05, 1.0, 20.0):
            softened = apply_temperature(sure, temperature)
            assert np.isfinite(softened).all()
            assert softened.sum(axis=1) == pytest.approx(1)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0, 20.0])
    def test_the_likeliest_stays(self, temperature, dtype):
        probabilities = random_predictions(0)[0].astype(dtype)
        applied = apply_temperature(probabilities, temperature)
        assert applied.sum(axis=1) == pytest.approx(1)
        assert (applied.argmax(axis=1) == probabilities.argmax(axis=1)).all()
        softer = applied.max(axis=1).mean() < probabilities.max(axis=1).mean()
        assert softer == (temperature > 1)

    def test_it_divides_the_logits(self):
        logits = np.random.default_rng(0).normal(size=(50, 4))
        assert apply_temperature(softmax(logits, axis=1), 2.5) == pytest.approx(softmax(logits / 2.5, axis=1))

    def test_no_frame(self):
        with pytest.raises(InputError, match="cannot be fitted to no frame"):
            fit_temperature(np.empty((0, 3)), np.empty(0))

    @pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
    def test_no_temperature(self, temperature):
        with pytest.raises(InputError, match="cannot be applied"):
            apply_temperature(np.eye(3), temperature)
