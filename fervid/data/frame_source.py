"""Where a datamodule's frames come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd


class FrameSource(Protocol):
    """A corpus whose frames can be listed and opened: prepared from files, or rendered.

    Attributes:
        name: of the corpus, the value of the column ``corpus``.
        subjects_from: where subjects come from if nobody has verified that each of their names is one person; None
            where the corpus itself says who is who.
        failures: files that could not be used: ``path``, ``reason`` and ``outcome``.
        face_size: side in pixels of the faces it gives; None if that is of no matter.
        is_prepared: whether its frames can be listed and opened without preparing files first.
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
        """Lists the frames that show a face: a manifest without ``split``."""
        ...

    def open_pictures(self, frames: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Gives a function from a row of ``frames`` to its face, uint8 (side, side, 3) RGB of any size.

        Args:
            frames: of :meth:`frames`.
            cache: a folder for what is made on the way.
        """
        ...

    def fingerprint(self) -> str:
        """All that shapes the pictures besides :meth:`frames`: another one, another folder in the cache."""
        ...

    def about(self) -> dict[str, Any]:
        """What cards and results tell of the corpus (:meth:`fervid.corpora.corpus.Corpus.about`)."""
        ...
