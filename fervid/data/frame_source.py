"""Interface of the corpora that provide a datamodule's frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd


class FrameSource(Protocol):
    """A prepared or rendered corpus, whose frames can be listed and opened.

    Attributes:
        name: name of the corpus, the value of the column ``corpus``.
        subjects_from: origin of the subjects' names if it is not verified that each name is one person; None if the
            corpus identifies its subjects.
        failures: files that could not be used: ``path``, ``reason`` and ``outcome``.
        face_size: side of the prepared faces in pixels; None if faces can be rendered at any size.
        is_prepared: whether the frames can be listed and opened without preparing files first.
    """

    failures: pd.DataFrame

    @property
    def name(self) -> str: ...

    @property
    def subjects_from(self) -> str | None: ...

    @property
    def face_size(self) -> int | None: ...

    @property
    def is_prepared(self) -> bool: ...

    def frames(self) -> pd.DataFrame:
        """Returns the frames that show a face, as a manifest without the column ``split``."""
        ...

    def open_pictures(self, frames: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Returns a function that returns the face of a row of ``frames``, uint8 (side, side, 3) RGB of any size.

        Args:
            frames: frames from :meth:`frames`.
            cache: folder for intermediate files.
        """
        ...

    def fingerprint(self) -> str:
        """Returns a key of everything besides :meth:`frames` that determines the pictures; part of the cache key."""
        ...

    def about(self) -> dict[str, Any]:
        """Returns the description of the corpus for cards and results (:meth:`fervid.corpora.corpus.Corpus.about`)."""
        ...
