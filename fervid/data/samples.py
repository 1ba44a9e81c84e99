"""Samples: the inputs of the network, with one row of predictions each."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import keys

MODALITIES = ("image", "sound", "features")


class Sample:
    """A kind of sample: which modalities the network is shown at once, and of what.

    The manifest has one row per frame if there are pictures, and one row per clip otherwise.

    Args:
        modalities: ``image``, ``sound`` or ``features``, or several of them.
        frames: number of frames per clip; None: every frame is a sample.
        window: ``all``, or ``centre`` to use the middle half of each clip; only with ``frames``.

    Raises:
        InputError: if a setting is invalid.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("image",),
        frames: int | None = None,
        window: Literal["all", "centre"] = "all",
    ):
        # No dataclass, which Hydra would convert to a dict when it passes the sample on.
        if not modalities or not set(modalities) <= set(MODALITIES) or len(set(modalities)) < len(modalities):
            raise InputError(
                f"sample.modalities={list(modalities)} is invalid: give one or several of {', '.join(MODALITIES)}."
            )
        # In a fixed order: the manifest has the rows of the first one.
        self.modalities = tuple(name for name in MODALITIES if name in modalities)
        self.frames, self.window = frames, window
        if self.frames is not None and self.frames < 1:
            raise InputError(f"sample.frames={self.frames} is out of range: give at least 1, or null.")
        if self.window not in ("all", "centre"):
            raise InputError(f"sample.window={self.window} is unknown: choose all or centre.")
        if self.frames is None and "image" in self.modalities and len(self.modalities) > 1:
            raise InputError("a sample with pictures and other modalities is a clip: give sample.frames.")

    @property
    def shows_pictures(self) -> bool:
        """Whether the network is shown pictures."""
        return "image" in self.modalities

    @property
    def is_clip(self) -> bool:
        """Whether a sample is a clip instead of a frame."""
        return not self.shows_pictures or self.frames is not None

    def table(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """Returns the sample table, one row per sample; the row number of a sample is its ``index`` in a batch.

        Args:
            manifest: one row per frame or clip. A clip has the values of its first frame.
        """
        if not self.is_clip or not self.shows_pictures:
            return manifest
        return manifest[~keys(manifest, "clip").duplicated()].reset_index(drop=True)

    def subsets(self, split: Callable[[pd.DataFrame], np.ndarray], manifest: pd.DataFrame) -> np.ndarray:
        """Returns the subset of each row of the manifest; if clips are samples, no split divides a clip.

        Args:
            split: see :class:`fervid.data.datamodule.EmotionDataModule`.
            manifest: one row per frame or clip, without ``split``.
        """
        drawn = np.asarray(split(manifest), dtype=object)
        if not self.is_clip:
            return drawn
        clip = pd.factorize(keys(manifest, "clip"))[0]
        if (pd.Series(drawn).groupby(clip).nunique() <= 1).all():
            return drawn
        return np.asarray(split(self.table(manifest)), dtype=object)[clip]

    def frame_rows(self, manifest: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
        """Returns the row of each picture in the cache: (N,), or (N, T) for clips, evenly spaced in time.

        Args:
            manifest: one row per frame, with ``cache_row``.
            samples: n rows of :meth:`table`.
        """
        if self.frames is None:
            return samples["cache_row"].to_numpy()
        ordered = manifest.sort_values("frame", kind="stable")
        rows = ordered.groupby(["corpus", "clip"], sort=False)["cache_row"].apply(np.array)
        chosen = [
            rows[corpus, clip][self.positions(len(rows[corpus, clip]))]
            for corpus, clip in zip(samples["corpus"], samples["clip"], strict=True)
        ]
        return np.array(chosen, dtype=np.int64).reshape(len(samples), self.frames)

    def positions(self, count: int) -> np.ndarray:
        """Returns the positions of the frames in a clip of ``count`` frames; a short clip repeats frames."""
        assert self.frames is not None
        start, end = (count / 4, 3 * count / 4) if self.window == "centre" else (0.0, float(count))
        middles = start + (np.arange(self.frames) + 0.5) * (end - start) / self.frames
        return np.minimum(middles.astype(int), count - 1)
