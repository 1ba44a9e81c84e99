"""A corpus of files as the source of a datamodule: its prepared faces, sounds and features, joined by clip."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.media.files import LEFT_OUT
from fervid.media.sound import read_wav
from fervid.prepare.prepared_corpus import PreparedCorpus
from fervid.prepare.prepared_features import PreparedFeatures
from fervid.prepare.prepared_folder import PreparedFolder
from fervid.prepare.prepared_sounds import PreparedSounds

KEPT = ("sound", "seconds", "peak_db", "rms_db", "clipped", "channels", "source_rate", "feature_rows", "feature_row")


class CorpusSource:
    """The prepared parts of one corpus, joined by clip.

    Clips are joined by the column ``recording`` if the corpus has one, since the files of its modalities then have
    different names (RAVDESS), and otherwise by ``clip``. Clips that lack a modality are left out.

    Implements :class:`fervid.data.source.Source`.

    Args:
        parts: the prepared faces (``image``), sounds (``sound``) and features (``features``) of a corpus.
    """

    def __init__(self, parts: Mapping[str, PreparedFolder]):
        self.parts = dict(parts)
        self._first = next(iter(self.parts.values()))
        self._left_out: list[tuple[str, str]] = []

    @property
    def name(self) -> str:
        return self._first.name

    @property
    def subjects_from(self) -> str | None:
        return self._first.subjects_from

    @property
    def failures(self) -> pd.DataFrame:
        """Files that could not be used, and clips that lack a modality."""
        left_out = pd.DataFrame(self._left_out, columns=["path", "reason"]).assign(outcome=LEFT_OUT)
        tables = [part.failures for part in self.parts.values()]
        return pd.concat([*tables, left_out], ignore_index=True).drop_duplicates(ignore_index=True)

    @property
    def face_size(self) -> int | None:
        faces = self.parts.get("image")
        return faces.face_size if isinstance(faces, PreparedCorpus) else None

    @property
    def is_prepared(self) -> bool:
        return all(part.is_prepared for part in self.parts.values())

    def rows(self, modalities: Sequence[str]) -> pd.DataFrame:
        tables = {name: self._rows_of(name) for name in self.parts}
        joined = tables.pop(next(iter(self.parts)))
        self._left_out = []
        for name, table in tables.items():
            key = ["corpus", "recording" if "recording" in joined and "recording" in table else "clip"]
            added = table[[*key, *(column for column in KEPT if column in table and column not in joined)]]
            if (twice := added[added.duplicated(key)]).size:
                raise InputError(
                    f"{self.name} has several files with the {name} of {twice[key[1]].iloc[0]}: keep one of them."
                )
            merged = joined.merge(added, how="left", on=key, indicator=True)
            lacking = (merged["_merge"] == "left_only").to_numpy()
            if lacking.all():
                raise InputError(
                    f"no clip of {self.name} has both {' and '.join(self.parts)}: check that they are of the same "
                    "recordings."
                )
            paths = merged.loc[lacking, "path"].drop_duplicates()
            self._left_out += [(path, f"without {name}") for path in paths]
            joined = merged[~lacking].drop(columns="_merge").reset_index(drop=True)
        return joined

    def _rows_of(self, modality: str) -> pd.DataFrame:
        part = self.parts[modality]
        if isinstance(part, PreparedCorpus):
            return part.frames()
        if isinstance(part, PreparedSounds):
            return part.sounds().assign(frame=0, time=0.0)
        clips = self._features.rows()
        return clips.assign(frame=0, time=0.0, feature_row=np.arange(len(clips)))

    @property
    def _features(self) -> PreparedFeatures:
        part = self.parts["features"]
        assert isinstance(part, PreparedFeatures)
        return part

    def open(self, modality: str, rows: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        part = self.parts[modality]
        if isinstance(part, PreparedCorpus):
            return part.open_pictures(rows)
        if isinstance(part, PreparedSounds):
            folder, files = part.folder, rows["sound"].to_numpy(dtype=object)
            return lambda row: _sound(folder, files[row])
        features, numbers = self._features, rows["feature_row"].to_numpy()
        return lambda row: features.read(int(numbers[row]))

    def feature_names(self) -> list[str]:
        return self._features.columns if "features" in self.parts else []

    def fingerprint(self) -> str:
        return " ".join(part.fingerprint() for part in self.parts.values())

    def about(self) -> dict[str, Any]:
        return self._first.about()


def _sound(folder: Path, file: str) -> np.ndarray:
    try:
        return np.round(read_wav(folder / file) * 32768).astype(np.int16)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / file} can no longer be read ({error}): remove {folder} to prepare it again."
        ) from error
