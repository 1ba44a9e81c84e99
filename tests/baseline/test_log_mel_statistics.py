import numpy as np
import pytest

from fervid.baseline.log_mel_statistics import log_mel_statistics, make_svm
from fervid.baseline.recognisers import CalibratedSVM
from fervid.errors import InputError


def noise(samples, level=0.1, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def statistics(sound, **settings):
    return log_mel_statistics([sound], bands=20, **settings).reshape(5, 20)


def test_statistics_are_those_of_a_stationary_sound():
    features = log_mel_statistics([noise(16_000), noise(8_000)], bands=20)
    assert (features.shape, features.dtype) == ((2, 100), np.float32)
    mean, deviation, least, most, change = features[0].reshape(5, 20)
    assert (least < mean).all()
    assert (mean < most).all()
    assert (0 < deviation).all()
    assert (0 < change).all()


def test_level_moves_the_statistics_in_decibels():
    one, ten = (statistics(noise(16_000, level)) for level in (0.01, 0.1))
    np.testing.assert_allclose(ten[[0, 2, 3]] - one[[0, 2, 3]], 20, atol=0.01)
    np.testing.assert_allclose(ten[[1, 4]], one[[1, 4]], atol=0.01)


def test_pauses_do_not_count():
    sound, pause = noise(16_000), noise(16_000, level=1e-4, seed=1)  # 60 dB below
    with_pauses = np.concatenate([pause, sound, pause])
    mean, expected = statistics(with_pauses)[0], statistics(sound)[0]
    np.testing.assert_allclose(mean, expected, atol=0.5)
    assert (statistics(with_pauses, range_db=90)[0] < expected - 20).all()


def test_statistics_of_silence_and_of_a_single_frame_are_finite():
    assert np.isfinite(log_mel_statistics([np.zeros(4_000, np.float32), np.zeros(400, np.float32)])).all()
    mean, deviation, least, most, change = statistics(noise(16_000), range_db=1e-6)  # the loudest frame only
    assert (deviation == 0).all()
    assert (change == 0).all()
    assert np.isfinite(mean).all()
    assert np.array_equal(least, most)
    assert log_mel_statistics([], bands=20).shape == (0, 100)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bands": 7}, "features.bands=7 is out of range: use 8 to 128"),
        ({"range_db": 0.0}, "features.range_db=0.0 is out of range: use more than 0 and at most 100"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        log_mel_statistics([noise(16_000)], **settings)


def test_short_sounds_are_errors():
    with pytest.raises(InputError, match="a sound of 399 samples is too short: the features need at least 400 samples"):
        log_mel_statistics([noise(399)])
    with pytest.raises(InputError, match="svm_c=0 is out of range"):
        make_svm(0)


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_agree_with_the_svm_and_are_calibrated_on_validation(classes):
    """The classes overlap, so that probabilities close to 1 would be overconfident."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % classes
    x = rng.normal(size=(400, 6)) + np.eye(6)[labels]
    svm = make_svm().fit(x[:200], labels[:200])
    calibrated = CalibratedSVM(svm, (x[200:300], labels[200:300]))
    chances = calibrated.predict_proba(x[300:])
    assert chances.shape == (100, classes)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances.argmax(axis=1) == svm.predict(x[300:])).all()
    right = (chances.argmax(axis=1) == labels[300:]).mean()
    assert abs(chances.max(axis=1).mean() - right) < 0.15


def test_validation_subset_may_lack_a_class():
    x, labels = np.random.default_rng(0).normal(size=(80, 6)), np.arange(80) % 4
    some = labels < 3
    assert CalibratedSVM(make_svm().fit(x, labels), (x[some], labels[some])).predict_proba(x).shape == (80, 4)
