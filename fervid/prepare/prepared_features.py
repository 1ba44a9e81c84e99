"""The features of a corpus that other programs computed: read once from a table, then mapped into memory.

A prepared folder contains:

====================  ================================================================================================
``values.bin``        the features of all clips (:class:`fervid.storage.ragged_rows.RaggedRows`): float32, (T, F) each
``columns.json``      names of the F features
``manifest.parquet``  one row per clip with features; written last, so it marks completion
``failures.csv``      clips without features and files that are not part of the corpus, as for sound
====================  ================================================================================================
"""

import json
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.feature_files import table_files
from fervid.corpora.feature_tables import read_features
from fervid.errors import InputError, listed
from fervid.media.files import stamp
from fervid.prepare.preparation import Part, refuse_failures
from fervid.prepare.prepared_folder import PreparedFolder
from fervid.storage.atomic import write_json
from fervid.storage.ragged_rows import RaggedRows

log = logging.getLogger(__name__)

VERSION = 2  # of the reading of tables; features read by another version are read again


class PreparedFeatures(PreparedFolder):
    """The features of the clips of a corpus, from a table or a folder with a table per clip.

    Args:
        corpus: the corpus, whose clips are matched by name (:meth:`fervid.corpora.corpus.Corpus.recording_of`).
        path: path of the CSV or Parquet file, or of the folder (see
            :func:`fervid.corpora.feature_tables.read_features`).
        columns: names of columns or shell patterns; None: all columns of numbers that are features.
        max_failures: maximum fraction of clips that may be without features.
        folder: Path to the folder of prepared corpora; each has its own sub-folder.

    Attributes:
        failures: see :class:`PreparedFolder`; available after :meth:`rows`.

    Raises:
        InputError: if a setting is invalid.
    """

    kind = "features"

    def __init__(
        self,
        corpus: Corpus,
        path: str | Path,
        *,
        columns: Sequence[str] | str | None = None,
        max_failures: float = 0.1,
        folder: str | Path,
    ):
        super().__init__(corpus, max_failures=max_failures, folder=folder)
        self.path = Path(path).expanduser()
        self.selected = columns if columns is None or isinstance(columns, str) else list(map(str, columns))

    def settings(self) -> dict[str, Any]:
        return {"sample": "features", "columns": self.selected}

    @cached_property
    def columns(self) -> list[str]:
        """Names of the F features; reads the table first if necessary."""
        self._prepared()
        return json.loads((self.folder / "columns.json").read_text(encoding="utf-8"))

    def rows(self) -> pd.DataFrame:
        """Returns the clips with features, one row each; reads the table first if necessary.

        The column ``feature_rows`` is T, the number of rows of the clip: 1, or the number of its frames.

        Raises:
            InputError: if the table cannot be used, or no clip of an emotion has features.
        """
        self._prepared()
        manifest = self._read("features")
        lost = sorted(set(self.inventory.clips["emotion"]) - set(manifest["emotion"]))
        if lost:
            raise InputError(
                f"no clip of {', '.join(lost)} has features (see {self.folder / 'failures.csv'}): complete "
                f"{self.path}, or exclude the emotion."
            )
        return manifest

    def read(self, row: int) -> np.ndarray:
        """Returns the features of a clip.

        Args:
            row: row of the clip in :meth:`rows`.

        Returns:
            float32 array of shape (T, F), a copy.
        """
        return self._values[row]

    def prepare_part(self, part: Part) -> int:
        raise InputError("part and parts do not apply to features, which are read as a whole: leave them out.")

    def card(self) -> dict[str, Any]:
        """Returns the counts of clips, rows and features."""
        counts = {"clips": len(self._values), "rows": int(self._values.lengths.sum()), "features": len(self.columns)}
        return {"name": self.name, **counts}

    @cached_property
    def _values(self) -> RaggedRows:
        self._prepared()
        return RaggedRows(self.folder / "values.bin", np.float32)

    def _prepared(self) -> None:
        if not self.is_prepared:
            self.prepare()

    def _key(self) -> list[Any]:
        # Only names of the corpus's files matter here, not their content.
        files = [
            (file.name if file == self.path else file.relative_to(self.path).as_posix(), stamp(file))
            for file in table_files(self.path)
        ]
        return [VERSION, self.inventory.clips.to_csv(), files, self.settings()]

    def _prepare_clips(self, part: Part | None = None) -> None:
        """Does nothing: the whole table is read at once, in :meth:`_write`."""

    def _write(self) -> None:
        clips = self.inventory.clips
        features = read_features(self.path, clips, columns=self.selected, recording_of=self.corpus.recording_of)
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(features.failures) > self.max_failures * len(clips):
            advice = f"complete {self.path}"
            where = self.folder / "failures.csv"
            refuse_failures(where, features.failures, len(clips), self.max_failures, advice)
        found = [(row, values) for row, values in enumerate(features.values) if values is not None]
        if not found:
            raise InputError(f"none of {len(clips)} clips has features in {self.path}: give the table of this corpus.")
        lengths = [len(values) for _, values in found]
        log.info("%s: %d features of %d clips (%s).", self.path, len(features.columns), len(found), _length(lengths))
        if features.left_out:
            log.info("columns not used as features: %s.", listed(features.left_out))
        with RaggedRows(self.folder / "values.bin", np.float32).writing() as append:
            for _, values in found:
                append(values)
        write_json(self.folder / "columns.json", features.columns)
        self._write_failures(pd.concat([self.inventory.dropped, features.failures], ignore_index=True))
        manifest = clips.iloc[[row for row, _ in found]].reset_index(drop=True)
        self._write_manifest(manifest.assign(feature_rows=lengths))


def _length(lengths: list[int]) -> str:
    shortest, longest = min(lengths), max(lengths)
    return f"{shortest} row{'s' * (shortest > 1)} each" if shortest == longest else f"{shortest} to {longest} rows each"
