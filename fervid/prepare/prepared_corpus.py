"""A corpus with the settings that crop its faces, and the folder in which the crops lie."""

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

VERSION = 3  # of the preparation: a corpus prepared by another one is prepared again


class PreparedCorpus:
    """The faces of a corpus of videos or pictures, cropped once and kept on disk.

    It is one of the frame sources that a datamodule serves (:class:`fervid.data.frame_source.FrameSource`).

    Args:
        corpus: what is prepared.
        detector: finds the faces; default: Haar for videos, none for pictures, which are taken as they are.
        frame_stride: frame stride: each ``frame_stride``-th frame of a video is taken.
        frames_per_clip: instead of ``frame_stride``: frames per clip, evenly spaced.
        window: which part of a video: ``all`` or ``centre``, the middle half.
        face_size: side of the crops in pixels.
        margin: share of the bare face added on each side of a crop.
        max_failures: share of the files that may be broken or show no face.
        folder: where prepared corpora lie; each is a folder of its own in it.

    Attributes:
        failures: files that could not be used: ``path``, ``reason`` and ``outcome``, ``failed`` or ``left out``; after
            :meth:`frames`.

    Raises:
        InputError: if a setting cannot be used.
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
            raise InputError(f"dataset.max_failures={max_failures} is no share: give 0 to 1.")
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
        """What cards and results tell of the corpus, as plain values."""
        return self.corpus.about()

    # What shapes the crops

    @property
    def inventory(self) -> Inventory:
        """What the reader found."""
        return self.corpus.inventory

    def settings(self) -> dict[str, Any]:
        """Which frames are taken, how faces are found and cropped: all that shapes the crops besides the clips."""
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
        """The folder of this corpus as it is now: changed by a file or setting, not by moving the corpus."""
        files = [(file.path, file.stamp) for file in self.inventory.files]
        windows = [vars(window) for window in self.inventory.windows or ()]
        key = [VERSION, self.inventory.clips.to_csv(), files, windows, self.settings()]
        if self.inventory.faces is not None:
            key.append([face and vars(face) for face in self.inventory.faces])
        digest = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:12]
        return self.parent / f"{self.name}-{digest}"

    @property
    def is_prepared(self) -> bool:
        """Whether the folder is there and whole."""
        return (self.folder / "manifest.parquet").exists()

    # From files to faces

    def prepare(self) -> dict[str, Any]:
        """Prepares the corpus unless it is prepared, with what parts have done so far; prints what was found.

        Returns:
            The card.

        Raises:
            InputError: if too many files fail, or the disk is full or cannot be written.
        """
        if not self.is_prepared:
            self.inventory.print(Console(), self.name)
            with self._writable(), lock(self.folder), lock_parts(self.folder):
                if not self.is_prepared:  # by another process, while this one waited
                    self._crop()
                    self._write()
        for left in [*self.folder.glob(JOURNALS), *self.folder.glob("failures-*.csv")]:  # by parts, or by a kill
            left.unlink(missing_ok=True)
        return self.card()

    def prepare_part(self, part: Part) -> int:
        """Prepares part k of n, to be joined by :meth:`prepare`; parts may run at once, on several machines.

        Returns:
            The number of clips in this part.

        Raises:
            InputError: as :meth:`prepare`; or if another process prepares the whole corpus or this part.
        """
        rows = part.rows(len(self.inventory.clips))
        with self._writable(), lock_part(self.folder, part.name):
            if not self.is_prepared:  # nor has another process joined the parts meanwhile
                self._crop(part)
        return len(rows)

    def card(self) -> dict[str, Any]:
        """The card of a prepared corpus."""
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
        """Writes the tables and the card of faces that are all cropped."""
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
        # Last: with it the folder is whole.
        with writing(self.folder / "manifest.parquet") as partial:
            manifest.to_parquet(partial)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """Around writing into the folder: a disk that is full or cannot be written is one sentence."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be written ({error.strerror}): make room or choose another "
                "dataset.prepared_dir, and run the same command again; it resumes where it stopped."
            ) from error

    def _with_left_out(self, failures: pd.DataFrame) -> pd.DataFrame:
        """Files that failed, then those that are left out now."""
        left_out = pd.DataFrame(self.inventory.left_out, columns=["path", "reason"])
        return pd.concat([failures.assign(outcome=FAILED), left_out.assign(outcome=LEFT_OUT)], ignore_index=True)

    # From faces to frames

    def frames(self) -> pd.DataFrame:
        """The frames that have a face, one row each; the corpus is prepared first if need be.

        Raises:
            InputError: if the corpus cannot be prepared, or an emotion has no face.
        """
        if not self.is_prepared:
            log.info(summary(self.prepare()))
        failures = read_csv(self.folder / "failures.csv")
        failures = failures[failures["outcome"] == FAILED] if "outcome" in failures else failures
        self.failures = self._with_left_out(failures)  # which files are left out may have changed since
        failed = self.failures[self.failures["outcome"] == FAILED]
        if len(failed):
            log.warning(
                "%d of %d files give no face (first: %s: %s): see failures.csv in the run folder.",
                len(failed),
                len(self.inventory.clips) + len(self.inventory.dropped),
                *failed[["path", "reason"]].iloc[0],
            )
        manifest = pd.read_parquet(self.folder / "manifest.parquet")
        manifest = manifest[manifest["face"].notna()]
        lost = sorted(set(self.inventory.clips["emotion"]) - set(manifest["emotion"]))
        if lost:
            raise InputError(
                f"no face of {', '.join(lost)} was found in any of its files (see {self.folder / 'failures.csv'}), so "
                "that it would not be trained: mend the files, choose another detector, or leave the emotion out."
            )
        return manifest

    @property
    def face_size(self) -> int:
        """Side of the crops in pixels."""
        return self.alignment.size

    def open_pictures(self, frames: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Gives a function that reads the face of row i of ``frames``, uint8 (face_size, face_size, 3) RGB."""
        folder, faces = self.folder, frames["face"].to_numpy(dtype=object)

        def read(row: int) -> np.ndarray:
            try:
                return read_picture(folder / faces[row])
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{folder / faces[row]} cannot be read any more ({error}): remove {folder} to prepare it anew."
                ) from error

        return read

    def fingerprint(self) -> str:
        """The prepared folder, whose name changes with all that shapes the crops."""
        return self.folder.name
