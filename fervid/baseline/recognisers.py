"""The classical recognisers: features of a sample, and the classifiers among which the validation subset chooses."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from omegaconf import DictConfig
from scipy.special import softmax
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline

from fervid.baseline.lgbp import check_settings, lgbp_features, make_classifier
from fervid.baseline.log_mel_statistics import check_sound_settings, log_mel_statistics, make_svm
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.metrics.calibration import apply_temperature, fit_temperature

log = logging.getLogger(__name__)

Labelled = tuple[np.ndarray, np.ndarray]
"""Features (N, F) and labels (N,)."""


class Classifier(Protocol):
    """A fitted classifier."""

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Returns the probability of each class, (N, num_classes), from features (N, F)."""
        ...


class Recogniser(ABC):
    """Features of samples, and their classifier.

    Attributes:
        name: name in report tables.
        data: settings of the datamodule that the features need.
    """

    name: str
    data: Mapping[str, int] = {}

    @abstractmethod
    def extract(self, datamodule: EmotionDataModule, subset: str) -> np.ndarray:
        """Returns the features of the samples of a subset, float32 (N, F)."""

    @abstractmethod
    def fit(self, train: Labelled, val: Labelled) -> Classifier:
        """Returns a classifier that was fitted on the training subset.

        Args:
            train: the samples that it learns.
            val: the samples that choose its settings.

        Raises:
            InputError: if the training subset is too small.
        """


class LGBP(Recogniser):
    """Local Gabor binary patterns of faces, with PCA and LDA (:mod:`fervid.baseline.lgbp`).

    Args:
        features: settings of :func:`fervid.baseline.lgbp.lgbp_features`.
        pca: see :func:`fervid.baseline.lgbp.make_classifier`, also for ``seed``.

    Raises:
        InputError: if a setting is out of range.
    """

    name = "lgbp"

    def __init__(self, features: Mapping[str, float], *, pca: float, seed: int):
        self.settings = {name: int(value) for name, value in features.items()}
        check_settings(**self.settings)
        self.pca, self.classifier = pca, make_classifier(pca, seed)
        self.data = {"image_size": self.settings["image_size"]}

    def extract(self, datamodule: EmotionDataModule, subset: str) -> np.ndarray:
        rows = datamodule.input_rows("image", subset)
        described = f"LGBP features of {len(rows)} {subset} faces"
        return lgbp_features(datamodule.face_cache[rows], **self.settings, description=described)

    def fit(self, train: Labelled, val: Labelled) -> Pipeline:
        x, labels = train
        if self.pca > min(x.shape):
            raise InputError(f"pca={self.pca} is too large for {len(x)} training faces: use at most {min(x.shape)}.")
        if self.pca < 1 and len(x) > 5000:
            log.info(
                "PCA of %d faces by a fraction of variance is slow: a number of components such as pca=300 is faster.",
                len(x),
            )
        return self.classifier.fit(x, labels)


class LogMelSVM(Recogniser):
    """Statistics of log-mel spectrograms, with an SVM (:mod:`fervid.baseline.log_mel_statistics`).

    The validation subset chooses C, and then the temperature of the probabilities (:class:`CalibratedSVM`).

    Args:
        features: settings of :func:`fervid.baseline.log_mel_statistics.log_mel_statistics`.
        svm_c: the values of C to choose from.

    Raises:
        InputError: if a setting is out of range, or there is no value of C.
    """

    name = "log_mel_svm"

    def __init__(self, features: Mapping[str, float], *, svm_c: list[float]):
        self.bands, self.range_db = int(features["bands"]), float(features["range_db"])
        check_sound_settings(bands=self.bands, range_db=self.range_db)
        if not svm_c:
            raise InputError("svm_c=[] is empty: give at least one value of C.")
        self.classifiers = [make_svm(c) for c in sorted(svm_c)]

    def extract(self, datamodule: EmotionDataModule, subset: str) -> np.ndarray:
        store = datamodule.stores["sound"]
        rows = datamodule.input_rows("sound", subset)
        # One at a time, since the longest sound would set the length of all.
        sounds = (store.view(rows[number : number + 1])[0] for number in range(len(rows)))
        return log_mel_statistics(sounds, bands=self.bands, range_db=self.range_db)

    def fit(self, train: Labelled, val: Labelled) -> "CalibratedSVM":
        fitted = [classifier.fit(*train) for classifier in self.classifiers]
        # The first of equally good ones, which has the smallest C.
        best = max(fitted, key=lambda classifier: recall_score(val[1], classifier.predict(val[0]), average="macro"))
        return CalibratedSVM(best, val)


class CalibratedSVM:
    """An SVM with probabilities: a softmax of its decision values, whose temperature the validation subset chooses.

    The most probable class is the one that the SVM predicts. The calibration of scikit-learn on folds of the training
    subset mixes their subjects: on five folds of RAVDESS, its loss is 1.73 instead of 1.50.

    Args:
        svm: fitted classifier with ``decision_function``.
        val: the samples that choose the temperature.
    """

    def __init__(self, svm: Pipeline, val: Labelled):
        self.svm, self.temperature = svm, 1.0
        self.temperature = fit_temperature(self.predict_proba(val[0]), val[1])

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        decisions = self.svm.decision_function(x)
        if decisions.ndim == 1:  # of two classes
            decisions = np.stack([-decisions, decisions], axis=1)
        return apply_temperature(softmax(decisions, axis=1), self.temperature)


def make_recogniser(config: DictConfig) -> Recogniser:
    """Builds the recogniser of a configuration of the command ``baseline``.

    Raises:
        InputError: if a setting is out of range.
    """
    if "sound" in config.sample.modalities:
        return LogMelSVM(config.features, svm_c=[float(value) for value in config.svm_c])
    return LGBP(config.features, pca=config.pca, seed=config.seed)
