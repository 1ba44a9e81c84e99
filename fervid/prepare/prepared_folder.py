"""A corpus with the settings of its preparation and the folder that contains the result."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from rich.console import Console

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.errors import InputError
from fervid.media.files import FAILED, LEFT_OUT
from fervid.prepare.preparation import JOURNALS, Part
from fervid.schema.csv_tables import read_csv
from fervid.storage.atomic import write_csv, writing
from fervid.storage.escaping import spreadsheet
from fervid.storage.locks import lock, lock_part, lock_parts

log = logging.getLogger(__name__)


class PreparedFolder:
    """Base class of prepared face crops and prepared sounds: the folder, its preparation and its failures.

    Subclasses implement :meth:`settings`, :meth:`_prepare_clips` and :meth:`_write`.

    Args:
        corpus: the corpus to prepare.
        max_failures: maximum fraction of files that may fail.
        folder: Path to the folder of prepared corpora; each has its own sub-folder.

    Attributes:
        kind: what is prepared, in the name of the folder; empty for face crops.
        failures: files that could not be used, with ``path``, ``reason`` and ``outcome`` (``failed`` or ``left out``);
            available after the manifest has been read.

    Raises:
        InputError: if a setting is invalid.
    """

    kind: ClassVar[str] = ""

    def __init__(self, corpus: Corpus, *, max_failures: float, folder: str | Path):
        if not 0 <= max_failures <= 1:
            raise InputError(f"dataset.max_failures={max_failures} is out of range: give 0 to 1.")
        self.corpus = corpus
        self.max_failures = max_failures
        self.parent = Path(folder).expanduser()
        self.failures = pd.DataFrame(columns=["path", "reason", "outcome"])

    @property
    def name(self) -> str:
        """The name of the corpus."""
        return self.corpus.name

    @property
    def subjects_from(self) -> str | None:
        """Where unverified names of subjects come from (see :class:`fervid.corpora.corpus.Corpus`)."""
        return self.corpus.subjects_from

    def about(self) -> dict[str, Any]:
        """Returns the description of the corpus for cards and results, as plain values."""
        return self.corpus.about()

    @property
    def inventory(self) -> Inventory:
        """The result of the corpus reader."""
        return self.corpus.inventory

    def settings(self) -> dict[str, Any]:
        """Returns all settings that determine the result for a clip."""
        raise NotImplementedError

    def _key(self) -> list[Any]:
        """Returns the files and settings that identify the folder."""
        files = [(file.path, file.stamp) for file in self.inventory.files]
        windows = [vars(window) for window in self.inventory.windows or ()]
        return [self.inventory.clips.to_csv(), files, windows, self.settings()]

    @cached_property
    def folder(self) -> Path:
        """The folder for the current files and settings; it does not depend on the location of the corpus."""
        digest = hashlib.sha256(json.dumps(self._key(), default=str).encode()).hexdigest()[:12]
        return self.parent / "-".join(filter(None, (self.name, self.kind, digest)))

    def fingerprint(self) -> str:
        """Returns the name of the prepared folder, which identifies its files and settings."""
        return self.folder.name

    @property
    def is_prepared(self) -> bool:
        """Whether the folder exists and is complete."""
        return (self.folder / "manifest.parquet").exists()

    def prepare(self) -> dict[str, Any]:
        """Prepares the corpus unless it is already prepared; prints the inventory and joins prepared parts.

        Returns:
            The card.

        Raises:
            InputError: if too many files fail, or the folder cannot be written.
        """
        if not self.is_prepared:
            self.inventory.print(Console(), self.name)
            with self._writable(), lock(self.folder), lock_parts(self.folder):
                if not self.is_prepared:  # another process may have prepared it meanwhile
                    self._prepare_clips()
                    self._write()
        # Left behind by parts, or by a process that was killed.
        for leftover in [*self.folder.glob(JOURNALS), *self.folder.glob("failures-*.csv")]:
            leftover.unlink(missing_ok=True)
        return self.card()

    def prepare_part(self, part: Part) -> int:
        """Prepares one part; parts may be prepared in parallel, on several machines, and :meth:`prepare` joins them.

        Returns:
            Number of clips in this part.

        Raises:
            InputError: as :meth:`prepare`, or if another process is preparing the whole corpus or this part.
        """
        rows = part.rows(len(self.inventory.clips))
        with self._writable(), lock_part(self.folder, part.name):
            if not self.is_prepared:  # another process may have joined the parts meanwhile
                self._prepare_clips(part)
        return len(rows)

    def card(self) -> dict[str, Any]:
        """Returns the card of the prepared corpus."""
        return json.loads((self.folder / "card.json").read_text(encoding="utf-8"))

    def _prepare_clips(self, part: Part | None = None) -> None:
        """Writes the results of all clips, or of a part of them, and their journal."""
        raise NotImplementedError

    def _write(self) -> None:
        """Writes the tables and the card when all clips are prepared."""
        raise NotImplementedError

    def _write_failures(self, failures: pd.DataFrame) -> None:
        write_csv(self.folder / "failures.csv", spreadsheet(self._with_left_out(failures)))

    def _write_manifest(self, manifest: pd.DataFrame) -> None:
        """Writes the manifest; must come last, since its presence marks the folder as complete."""
        with writing(self.folder / "manifest.parquet") as partial:
            manifest.to_parquet(partial)

    def _read(self, what: str) -> pd.DataFrame:
        """Returns the manifest; reads the failures into :attr:`failures` and warns of files without usable ``what``."""
        failures = read_csv(self.folder / "failures.csv")
        failures = failures[failures["outcome"] == FAILED] if "outcome" in failures else failures
        self.failures = self._with_left_out(failures)  # files that are left out may have changed since
        failed = self.failures[self.failures["outcome"] == FAILED]
        if len(failed):
            log.warning(
                "%d of %d files have no usable %s (first: %s: %s): see failures.csv in the run folder.",
                len(failed),
                len(self.inventory.clips) + len(self.inventory.dropped),
                what,
                *failed[["path", "reason"]].iloc[0],
            )
        return pd.read_parquet(self.folder / "manifest.parquet")

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """Turns errors of writing into the folder into an InputError."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be written ({error.strerror}): free disk space or choose another "
                "dataset.prepared_dir, then run the same command again to resume."
            ) from error

    def _with_left_out(self, failures: pd.DataFrame) -> pd.DataFrame:
        """Returns the files that failed, followed by the files that are left out."""
        left_out = pd.DataFrame(self.inventory.left_out, columns=["path", "reason"])
        return pd.concat([failures.assign(outcome=FAILED), left_out.assign(outcome=LEFT_OUT)], ignore_index=True)
