"""A corpus with the settings for its face crops and the folder that contains them."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.errors import InputError
from fervid.faces.clip_faces import JPEG_QUALITY, ClipTask
from fervid.faces.cropping import Alignment
from fervid.faces.detection import Detector, HaarDetector, NoDetector
from fervid.media.decoding import read_picture
from fervid.media.files import FAILED, LEFT_OUT
from fervid.media.sampling import Sampling
from fervid.prepare.card import summary, write_card
from fervid.prepare.preparation import JOURNALS, Part, crop_clips, join
from fervid.schema.csv_tables import read_csv
from fervid.storage.atomic import write_csv, writing
from fervid.storage.escaping import spreadsheet
from fervid.storage.locks import lock, lock_part, lock_parts

log = logging.getLogger(__name__)

VERSION = 3  # of the preparation; corpora prepared by another version are prepared again


class PreparedCorpus:
    """The face crops of a corpus of videos or pictures, extracted once and kept on disk.

    Implements :class:`fervid.data.frame_source.FrameSource`, so a datamodule can load it.

    Args:
        corpus: the corpus to prepare.
        detector: face detector. Default: Haar for videos, none for pictures, which are used whole.
        frame_stride: use every ``frame_stride``-th frame of a video.
        frames_per_clip: number of evenly spaced frames per video, used instead of ``frame_stride``.
        window: part of a video to use: ``all`` or ``centre`` (the middle half).
        face_size: side of the crops in pixels.
        margin: fraction of the face added on each side of a crop.
        max_failures: maximum fraction of files that may be unreadable or show no face.
        folder: Path to the folder of prepared corpora; each has its own sub-folder.

    Attributes:
        failures: files that could not be used, with ``path``, ``reason`` and ``outcome`` (``failed`` or ``left out``);
            available after :meth:`frames`.

    Raises:
        InputError: if a setting is invalid.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        detector: Detector | None = None,
        frame_stride: int = 10,
        frames_per_clip: int | None = None,
        window: Literal["all", "centre"] = "all",
        face_size: int = 256,
        margin: float = 0.15,
        max_failures: float = 0.1,
        folder: str | Path,
    ):
        if not 0 <= max_failures <= 1:
            raise InputError(f"dataset.max_failures={max_failures} is out of range: give 0 to 1.")
        self.corpus = corpus
        self.detector: Detector = detector or (NoDetector() if corpus.pictures else HaarDetector())
        self.sampling = Sampling(frame_stride, frames_per_clip, window)
        self.alignment = Alignment(face_size, margin)
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

    # Settings

    @property
    def inventory(self) -> Inventory:
        """The result of the corpus reader."""
        return self.corpus.inventory

    def settings(self) -> dict[str, Any]:
        """Returns all settings that determine the crops of a clip: sampling, detection and cropping."""
        sampled = not self.corpus.pictures and self.inventory.windows is None
        detected = self.inventory.faces is None
        return {
            **(vars(self.sampling) if sampled else {}),
            **(self.detector.settings() if detected else {}),
            **{"face_size": self.alignment.size, "margin": self.alignment.margin, "jpeg_quality": JPEG_QUALITY},
        }

    @property
    def detects_faces(self) -> bool:
        """Whether faces are detected, so that there is a detection rate."""
        return self.inventory.faces is None and not isinstance(self.detector, NoDetector)

    @cached_property
    def folder(self) -> Path:
        """The folder for the current files and settings; it does not depend on the location of the corpus."""
        files = [(file.path, file.stamp) for file in self.inventory.files]
        windows = [vars(window) for window in self.inventory.windows or ()]
        key = [VERSION, self.inventory.clips.to_csv(), files, windows, self.settings()]
        if self.inventory.faces is not None:
            key.append([face and vars(face) for face in self.inventory.faces])
        digest = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:12]
        return self.parent / f"{self.name}-{digest}"

    @property
    def is_prepared(self) -> bool:
        """Whether the folder exists and is complete."""
        return (self.folder / "manifest.parquet").exists()

    # Preparation

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
                    self._crop()
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
                self._crop(part)
        return len(rows)

    def card(self) -> dict[str, Any]:
        """Returns the card of the prepared corpus."""
        return json.loads((self.folder / "card.json").read_text(encoding="utf-8"))

    def _crop(self, part: Part | None = None) -> None:
        crop_clips(
            self.folder,
            self.inventory.clips,
            self._tasks(),
            detector=self.detector,
            alignment=self.alignment,
            max_failures=self.max_failures,
            description=f"{self.name}: cropping faces",
            part=part,
        )

    def _tasks(self) -> Iterator[ClipTask]:
        inventory = self.inventory
        for row, source in enumerate(self.corpus.sources()):
            sampling = inventory.windows[row] if inventory.windows is not None else self.sampling
            face = inventory.faces[row] if inventory.faces is not None else None
            yield ClipTask(row, source, None if self.corpus.pictures else sampling, face)

    def _write(self) -> None:
        """Writes the tables and the card when all faces are cropped."""
        manifest, failures, sums = join(self.folder, self.inventory.clips)
        failures = pd.concat([self.inventory.dropped, failures], ignore_index=True)
        write_csv(self.folder / "failures.csv", spreadsheet(self._with_left_out(failures)))
        write_card(
            self.folder,
            about=self.about(),
            settings={**self.corpus.choices(), **self.settings()},
            inventory=self.inventory,
            manifest=manifest,
            failed=len(failures),
            sums=sums,
            detected=self.detects_faces,
        )
        # Written last, since its presence marks the folder as complete.
        with writing(self.folder / "manifest.parquet") as partial:
            manifest.to_parquet(partial)

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

    # Frames

    def frames(self) -> pd.DataFrame:
        """Returns the frames with a face, one row each; prepares the corpus first if necessary.

        Raises:
            InputError: if the corpus cannot be prepared, or an emotion has no face.
        """
        if not self.is_prepared:
            log.info(summary(self.prepare()))
        failures = read_csv(self.folder / "failures.csv")
        failures = failures[failures["outcome"] == FAILED] if "outcome" in failures else failures
        self.failures = self._with_left_out(failures)  # files that are left out may have changed since
        failed = self.failures[self.failures["outcome"] == FAILED]
        if len(failed):
            log.warning(
                "%d of %d files have no usable face (first: %s: %s): see failures.csv in the run folder.",
                len(failed),
                len(self.inventory.clips) + len(self.inventory.dropped),
                *failed[["path", "reason"]].iloc[0],
            )
        manifest = pd.read_parquet(self.folder / "manifest.parquet")
        manifest = manifest[manifest["face"].notna()]
        lost = sorted(set(self.inventory.clips["emotion"]) - set(manifest["emotion"]))
        if lost:
            raise InputError(
                f"no face of {', '.join(lost)} was found in any file (see {self.folder / 'failures.csv'}): repair the "
                "files, choose another detector, or exclude the emotion."
            )
        return manifest

    @property
    def face_size(self) -> int:
        """Side of the crops in pixels."""
        return self.alignment.size

    def open_pictures(self, frames: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Returns a function that reads the face of row i of ``frames``, uint8 (face_size, face_size, 3) RGB."""
        folder, faces = self.folder, frames["face"].to_numpy(dtype=object)

        def read(row: int) -> np.ndarray:
            try:
                return read_picture(folder / faces[row])
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{folder / faces[row]} can no longer be read ({error}): remove {folder} to prepare it again."
                ) from error

        return read

    def fingerprint(self) -> str:
        """Returns the name of the prepared folder, which identifies its files and settings."""
        return self.folder.name
