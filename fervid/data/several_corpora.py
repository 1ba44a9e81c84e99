"""Serves several corpora together: joint training, and tests on a corpus that was left out."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fervid.data.corpus_datamodules import CorpusDataModule
from fervid.data.datamodule import DEFAULT_CACHE, EmotionDataModule
from fervid.data.samples import Sample
from fervid.data.source import open_sources
from fervid.data.stores import Store
from fervid.errors import InputError
from fervid.faces.detection import Detector
from fervid.schema.label_maps import LabelMap

CHECKED_PICTURES = 64  # of each corpus, for grayscale=auto
GRAY_LEVELS = 6  # largest difference of the channels of a gray pixel after JPEG compression
NAME = re.compile(r"\w[\w.-]*")


class SeveralDataModule(EmotionDataModule):
    """Serves several corpora together.

    All corpora share their labels (:class:`fervid.schema.label_maps.LabelMap`) and the geometry of their face crops:
    faces are also detected in corpora whose pictures are already cropped, since a network that was trained on crops of
    another tightness recognises less.

    Args:
        corpora: for each corpus, by its name, a function that makes its datamodule from ``sample``, ``cache_dir`` and
            the settings of crops below, such as ``functools.partial(FERPlusDataModule, "FERPlus.zip")``. A corpus of
            your own files is given the name.
        label_map: see :class:`fervid.schema.label_maps.LabelMap`, also for the following two arguments.
        emotions: emotions to use.
        not_shared: ``drop`` or ``keep``.
        temperature: how often corpora are drawn in training: in proportion to the number of their training samples to
            the power of 1 / temperature. 1: by size (each sample once per epoch); larger values: more equally; None:
            equally. Except for 1, samples are drawn with replacement.
        grayscale: whether to convert pictures to grayscale; ``auto``: if most pictures of any corpus are gray.
        detector: face detector. Default: that of each corpus.
        face_size: side of the face crops in pixels.
        margin: margin on each side of the face, as a fraction of its size. By default, crops are as tight as the
            pictures of FER2013, with the eyes 0.4 of the side apart.
        no_face: how to treat pictures in which no face is found: ``whole`` takes the picture as the face, ``leave_out``
            leaves it out.
        sample: see :class:`EmotionDataModule`, also for the following arguments.
        cache_dir: folder of the cached faces.
        **options: further arguments of :class:`EmotionDataModule`.

    Attributes:
        label_report: what each label was mapped to (:meth:`fervid.schema.label_maps.LabelMap.align`), after the rows
            were read.

    Raises:
        InputError: if a setting or corpus cannot be used.
    """

    def __init__(
        self,
        corpora: Mapping[str, Callable[..., EmotionDataModule]],
        *,
        label_map: Mapping[str, Any] | None = None,
        emotions: Sequence[str] | None = None,
        not_shared: Literal["drop", "keep"] = "drop",
        temperature: float | None = 1.0,
        grayscale: bool | Literal["auto"] = "auto",
        detector: Detector | None = None,
        face_size: int = 256,
        margin: float = 0.05,
        no_face: Literal["leave_out", "whole"] = "whole",
        sample: Sample | None = None,
        cache_dir: str | Path = DEFAULT_CACHE,
        **options: Any,
    ):
        if len(corpora or {}) < 2:
            raise InputError(
                "dataset=several needs at least two corpora: give dataset.corpora=[ferplus,ravdess], or a mapping with "
                "the settings of each."
            )
        if temperature is not None and not temperature >= 1:
            raise InputError(
                f"dataset.temperature={temperature} is out of range: give 1 (by size) or more, or null (equally)."
            )
        if grayscale not in (True, False, "auto"):
            raise InputError(f"dataset.grayscale={grayscale} is unknown: choose auto, true or false.")
        crops = {"detector": detector, "face_size": face_size, "margin": margin, "no_face": no_face}
        self.datamodules: dict[str, EmotionDataModule] = {}
        for name, make in corpora.items():
            if not NAME.fullmatch(str(name)):
                raise InputError(f"dataset.corpora has the name {name!r}: use letters, digits, '_', '-' and '.'.")
            given: dict[str, Any] = {"sample": sample, "cache_dir": cache_dir}
            if _has_files(make):
                given |= {"name": str(name), **crops}
            made = self.datamodules[str(name)] = make(**given)
            if made.corpus != name:
                raise InputError(
                    f"dataset.corpora has the name {name!r} for {made.corpus}: only a corpus of your own files can be "
                    f"named, since others are recognised by their names; write {made.corpus}."
                )
        sources = [source for each in self.datamodules.values() for source in each.sources]
        super().__init__(sources, sample=sample, grayscale=grayscale is True, cache_dir=cache_dir, **options)
        self._labels, self.temperature = LabelMap(label_map, emotions, not_shared), temperature
        self._finds_grayscale = grayscale == "auto" and self.sample.shows_pictures

    def align_labels(self, tables: Sequence[pd.DataFrame]) -> Sequence[pd.DataFrame]:
        aligned, self.label_report = self._labels.align(tables)
        return aligned

    @cached_property
    def stores(self) -> dict[str, Store]:
        if self._finds_grayscale:
            self.grayscale = any(self._is_gray(number) for number in range(len(self.sources)))
        return super().stores

    def _is_gray(self, number: int) -> bool:
        """Whether most pictures of a corpus are gray; rendered ones are not, and are rendered later."""
        if self.sources[number].face_size is None:
            return False
        rows = self.rows[self.rows["corpus"] == self.sources[number].name].reset_index(drop=True)
        read = open_sources([self.sources[number]], "image", rows, self.folder)
        chosen = np.unique(np.linspace(0, len(rows) - 1, CHECKED_PICTURES).astype(int))
        spreads = [np.ptp(read(int(row)).astype(np.int16), axis=2).max() for row in chosen]
        return bool(np.mean(np.array(spreads) <= GRAY_LEVELS) > 0.5)

    def sampling_weights(self, samples: pd.DataFrame) -> np.ndarray | None:
        """Returns the sampling weights of N training samples, shape (N,); None if each is drawn once."""
        within = super().sampling_weights(samples)
        if self.temperature == 1:
            return within
        corpus = pd.factorize(samples["corpus"])[0]
        sizes = np.bincount(corpus)
        shares = sizes ** (0.0 if self.temperature is None else 1 / self.temperature)
        weights = np.ones(len(samples)) if within is None else within
        return weights / np.bincount(corpus, weights=weights)[corpus] * (shares / shares.sum())[corpus]


def _has_files(make: Callable[..., EmotionDataModule]) -> bool:
    """Whether a function makes a datamodule of a corpus of files."""
    made = make.func if isinstance(make, partial) else make
    return inspect.isclass(made) and issubclass(made, CorpusDataModule)
