import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from fervid.baseline import lgbp
from fervid.baseline.lgbp import CODES, check_settings, lgbp_features, make_classifier
from fervid.errors import InputError

SMALL = {"image_size": 32, "scales": 2, "orientations": 4}


@pytest.fixture
def faces(synthetic):
    """Twelve rendered faces, uint8 (12, 28, 28, 3)."""
    return synthetic().face_cache[np.arange(12)]


@pytest.mark.parametrize(("scales", "orientations", "grid"), [(1, 1, 1), (2, 3, 5)])
def test_each_filter_and_cell_has_a_histogram_of_59_codes(faces, scales, orientations, grid):
    features = lgbp_features(faces[:3], image_size=32, scales=scales, orientations=orientations, grid=grid)
    assert (features.shape, features.dtype) == ((3, scales * orientations * grid**2 * 59), np.float32)
    assert np.allclose(features.reshape(-1, 59).sum(axis=1), 1, atol=1e-6)
    assert (features >= 0).all()


def test_histogram_counts_the_codes_of_a_cell(monkeypatch):
    """Uses the image itself as magnitude and counts the lower right quarter by hand."""
    one, none = np.float32([[1 / 16]]), np.float32([[0]])
    monkeypatch.setattr(lgbp, "gabor_kernels", lambda scales, orientations: [(one, none)])
    face = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    histograms = lgbp_features(face[None], image_size=16, scales=1, orientations=1, grid=2).reshape(2, 2, CODES)
    codes = local_binary_pattern(face, P=8, R=1, method="nri_uniform")
    for code in range(CODES):
        assert histograms[1, 1, code] == pytest.approx((codes[8:, 8:] == code).sum() / 64)
        assert histograms[0, 1, code] == pytest.approx((codes[:8, 8:] == code).sum() / 64)


def test_filters_respond_to_their_wavelength_and_orientation():
    waves = [np.cos(2 * np.pi * np.arange(65) / wavelength) for wavelength in (4, 8)]
    across = [np.tile(wave, (65, 1)) for wave in waves]  # waves along x
    kernels = lgbp.gabor_kernels(3, 4)
    responses = np.array([[np.abs(_at_the_middle(kernel, wave)) for kernel in kernels] for wave in across])
    assert responses.argmax(axis=1).tolist() == [0, 8]  # scale 0 and scale 2, each at 0 degrees
    assert responses.max(axis=1) == pytest.approx([0.5, 0.5], abs=0.01)


def _at_the_middle(kernel, picture):
    real, imaginary = kernel
    reach, middle = len(real) // 2, len(picture) // 2
    seen = picture[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    return (seen * real).sum() + 1j * (seen * imaginary).sum()


def test_brightness_does_not_change_features(faces):
    dark = (faces[..., 0] // 2).astype(np.uint8)
    plain, brighter = (lgbp_features(picture, **SMALL) for picture in (dark, dark + 100))
    assert (plain == brighter).mean() > 0.999  # a magnitude may be on the limit of two quantisation steps
    assert not np.allclose(plain, lgbp_features(255 - dark[:, ::-1], **SMALL))


def test_features_do_not_depend_on_other_faces_or_processes(faces):
    many = np.tile(faces, (9, 1, 1, 1))
    settings = {"image_size": 16, "scales": 1, "orientations": 2}
    alone = np.concatenate([lgbp_features(face[None], **settings) for face in faces])
    one, two = (lgbp_features(many, **settings, processes=processes) for processes in (1, 2))
    assert (one == two).all()
    assert (one == np.tile(alone, (9, 1))).all()


def test_grayscale_faces_and_other_sizes(faces):
    gray = np.repeat(faces[..., :1], 3, axis=3)
    assert (lgbp_features(gray, **SMALL) == lgbp_features(gray[..., 0], **SMALL)).all()
    assert lgbp_features(faces[:0], **SMALL).shape == (0, 2 * 4 * 16 * 59)


def test_seen_subjects_are_recognised_above_chance(synthetic):
    """New clips of seen subjects; with eight emotions the chance level is 1/8."""
    datamodule = synthetic(identities=4, clips=3, image_size=48)
    faces = datamodule.face_cache[np.arange(len(datamodule.manifest))]
    emotions, new = datamodule.manifest["emotion"].to_numpy(), datamodule.manifest["take"].to_numpy() == 2
    features = lgbp_features(faces, image_size=48, scales=3, orientations=4)
    classifier = make_classifier().fit(features[~new], emotions[~new])
    assert classifier.score(features[new], emotions[new]) > 0.4
    chances = classifier.predict_proba(features[new])
    assert chances.shape == (new.sum(), 8)
    assert np.allclose(chances.sum(axis=1), 1)


def test_pca_keeps_a_fraction_or_a_number():
    features = np.random.default_rng(0).normal(size=(40, 60)) * np.linspace(1, 3, 60)
    labels = np.arange(40) % 4
    pca = make_classifier(0.5).fit(features, labels)[0]
    assert pca.explained_variance_ratio_.sum() >= 0.5 > pca.explained_variance_ratio_[:-1].sum()
    assert make_classifier(7).fit(features, labels)[0].n_components_ == 7


@pytest.mark.parametrize("pca", [0, -1, 1, 1.0, 2.5])
def test_invalid_pca(pca):
    with pytest.raises(InputError, match=f"pca={pca} is invalid"):
        make_classifier(pca)


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_size", 15), ("image_size", 513), ("scales", 0), ("scales", 9), ("orientations", 0), ("grid", 17)],
)
def test_settings_out_of_range(name, value):
    settings = {"image_size": 64, "scales": 5, "orientations": 8, "grid": 4, name: value}
    with pytest.raises(InputError, match=f"features.{name}={value} is out of range"):
        check_settings(**settings)
    with pytest.raises(InputError, match=f"features.{name}={value}"):
        lgbp_features(np.zeros((1, 16, 16), np.uint8), **settings)
