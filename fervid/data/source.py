"""Interface of the corpora that a datamodule reads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from fervid.errors import InputError


class Source(Protocol):
    """A prepared or rendered corpus, whose frames or clips can be listed and opened.

    Attributes:
        name: name of the corpus, the value of the column ``corpus``.
        subjects_from: origin of the subjects' names if it is not verified that each name is one person; None if the
            corpus identifies its subjects.
        failures: files that could not be used: ``path``, ``reason`` and ``outcome``.
        face_size: side of the prepared faces in pixels; None if faces can be rendered at any size or there are none.
        is_prepared: whether the rows can be listed and opened without preparing files first.
    """

    @property
    def name(self) -> str: ...

    @property
    def subjects_from(self) -> str | None: ...

    @property
    def failures(self) -> pd.DataFrame: ...

    @property
    def face_size(self) -> int | None: ...

    @property
    def is_prepared(self) -> bool: ...

    def rows(self, modalities: Sequence[str]) -> pd.DataFrame:
        """Returns a manifest without the column ``split``.

        Args:
            modalities: modalities that every row must have.

        Returns:
            One row per frame that shows a face if ``image`` is among the modalities, otherwise one row per clip.

        Raises:
            InputError: if the corpus does not have the modalities.
        """
        ...

    def open(self, modality: str, rows: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Returns a function that returns the input of a row of ``rows``.

        It returns a face, uint8 (side, side, 3) RGB of any size; the sound of a clip, int16 (L,) at 16 kHz; or its
        features, float32 (L, F).

        Args:
            modality: ``image``, ``sound`` or ``features``.
            rows: rows from :meth:`rows`.
            cache: folder for intermediate files.
        """
        ...

    def feature_names(self) -> list[str]:
        """Returns the names of the F features of the modality ``features``; empty without it."""
        ...

    def fingerprint(self) -> str:
        """Returns a key of everything besides :meth:`rows` that determines the inputs; part of the cache key."""
        ...

    def about(self) -> dict[str, Any]:
        """Returns the description of the corpus for cards and results (:meth:`fervid.corpora.corpus.Corpus.about`)."""
        ...


def open_sources(
    sources: Sequence[Source], modality: str, rows: pd.DataFrame, cache: Path
) -> Callable[[int], np.ndarray]:
    """Returns a function that returns the input of a row of ``rows``, which may be of several sources.

    Args:
        sources: the sources.
        modality: ``image``, ``sound`` or ``features``.
        rows: rows of the sources, in their order.
        cache: folder for intermediate files.
    """
    corpus = rows["corpus"].to_numpy(dtype=object)
    first = {source.name: int(np.argmax(corpus == source.name)) for source in sources}
    openers = {
        source.name: source.open(modality, rows[corpus == source.name].reset_index(drop=True), cache)
        for source in sources
    }
    return lambda row: openers[corpus[row]](row - first[corpus[row]])


def check_sources(sources: Sequence[Source]) -> None:
    """Raises an InputError if there is no source, or several with the same name."""
    names = [source.name for source in sources]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"the corpora {', '.join(names) or '[]'} cannot be combined: give at least one, and each only once."
        )


def feature_names(sources: Sequence[Source]) -> list[str]:
    """Returns the names of the features of several sources.

    Raises:
        InputError: if they have different features.
    """
    names = [source.feature_names() for source in sources]
    if any(each != names[0] for each in names):
        raise InputError(
            f"{' and '.join(source.name for source in sources)} have different features: give the same columns of each."
        )
    return names[0]
