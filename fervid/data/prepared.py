"""What corpora of videos and pictures share: they are prepared, once, before they are trained on."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from fervid.corpora.inventory import Inventory
from fervid.data.datamodule import FrameDataModule
from fervid.faces.alignment import Alignment
from fervid.faces.cropping import JPEG_QUALITY, Task
from fervid.faces.detection import Detector, HaarDetector, NoDetector
from fervid.media.decoding import read_picture
from fervid.media.files import FAILED, LEFT_OUT, RENDERED
from fervid.media.sampling import Sampling
from fervid.prepare.card import summary, write_card
from fervid.prepare.preparation import JOURNAL, prepare
from fervid.schema.atomic import write_csv, writing
from fervid.schema.csv_tables import read_csv
from fervid.schema.errors import InputError
from fervid.schema.escaping import spreadsheet
from fervid.schema.locks import lock
from fervid.schema.names import clean_identities, doubts

log = logging.getLogger(__name__)

VERSION = 2  # of the preparation: a corpus prepared by another one is prepared again


class PreparedDataModule(FrameDataModule):
    """Serves the faces of a corpus of videos or pictures, which it prepares when that has not been done.

    A corpus is a subclass that answers :meth:`read_clips` and says its :attr:`licence` and :attr:`citation`.

    Args:
        root: the folder of the corpus.
        detector: finds the faces; default: Haar for videos, none for pictures, which are taken as they are.
        every: each so manieth frame of a video is taken.
        count: instead of ``every``: so many frames of each video, evenly.
        window: which part of a video: ``all`` or ``centre``, the middle half.
        face_size: side of the prepared faces in pixels.
        margin: share of the bare face added on each side of a crop.
        max_failures: share of the files that may be broken or show no face.
        prepared_dir: where prepared corpora lie; ``prepared`` in the cache unless given.
        **options: those of :class:`FrameDataModule`.

    Attributes:
        prepared: the folder of this corpus, as it is now, with these settings.

    Raises:
        InputError: if a setting cannot be used or the corpus cannot be prepared.
    """

    licence = "unknown: whoever gave you the files can say"
    citation = ""
    pictures = False  # instead of videos

    def __init__(
        self,
        root: str | Path | None,
        *,
        detector: Detector | None = None,
        every: int = 10,
        count: int | None = None,
        window: Literal["all", "centre"] = "all",
        face_size: int = 256,
        margin: float = 0.15,
        max_failures: float = 0.1,
        prepared_dir: str | Path | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        if root is None:
            raise InputError(f"dataset={self.corpus} needs dataset.root=<folder>: where the corpus lies.")
        if not 0 <= max_failures <= 1:
            raise InputError(f"dataset.max_failures={max_failures} is no share: give 0 to 1.")
        self.root = Path(root).expanduser()
        self.rendered = ((self.root if self.root.is_dir() else self.root.parent) / RENDERED).exists()
        self.detector: Detector = detector or (NoDetector() if self.pictures else HaarDetector())
        self.sampling = Sampling(every, count, window)
        self.alignment = Alignment(face_size, margin)
        self.max_failures = max_failures
        self.prepared_dir = Path(prepared_dir).expanduser() if prepared_dir else self.cache_dir / "prepared"

    # What a corpus provides

    def read_clips(self) -> Inventory:
        """Lists the clips, or pictures, and what is odd or missing; decodes nothing."""
        raise NotImplementedError

    def tasks(self, inventory: Inventory) -> Iterator[Task]:
        """How the faces of each clip are got at."""
        for row, file in enumerate(inventory.files):
            yield Task(row, file.source, None if self.pictures else self.sampling)

    def choices(self) -> dict[str, Any]:
        """Which clips of the corpus were asked for, for the card."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Which frames are taken, how faces are found and cut out: all that shapes them besides the clips."""
        frames = {} if self.pictures else vars(self.sampling)
        crops = {"face_size": self.alignment.size, "margin": self.alignment.margin, "jpeg_quality": JPEG_QUALITY}
        return {**frames, **self.detector.settings(), **crops}

    @property
    def looks_for_faces(self) -> bool:
        """Whether faces are detected, so that there is a detection rate."""
        return not isinstance(self.detector, NoDetector)

    # From files to faces

    @cached_property
    def inventory(self) -> Inventory:
        """What the reader found."""
        inventory = self.read_clips()
        if inventory.clips.empty:
            raise InputError(
                f"no clip of {self.corpus} was found in {self.root}: check dataset.root and its options. "
                f"{' '.join(inventory.notes)}".strip()
            )
        inventory.check_named(self.root)
        clips = inventory.clips.assign(corpus=self.corpus, path=[file.path for file in inventory.files])
        inventory.clips = clean_identities(clips).reset_index(drop=True)
        if self.subjects_from:
            inventory.notes += [f"subjects come from {self.subjects_from} and are not verified."]
            inventory.notes += doubts(inventory.clips)
        return inventory

    @cached_property
    def prepared(self) -> Path:
        """The folder of this corpus as it is now; a changed file or setting is another folder."""
        files = [(file.path, file.stamp) for file in self.inventory.files]
        told = [VERSION, str(self.root.resolve()), self.inventory.clips.to_csv(), files, self.settings()]
        key = hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:12]
        return self.prepared_dir / f"{self.corpus}-{key}"

    @property
    def is_prepared(self) -> bool:
        """Whether the prepared folder is there and whole."""
        return (self.prepared / "manifest.parquet").exists()

    def prepare_faces(self) -> dict[str, Any]:
        """Prepares the corpus, unless it is; tells on the terminal what was found and what came of it.

        Returns:
            The card.

        Raises:
            InputError: if too many files fail, or the disk is full or cannot be written.
        """
        folder = self.prepared
        if not self.is_prepared:
            console = Console()
            self.inventory.print(console, self.corpus)
            try:
                with lock(folder):
                    if not self.is_prepared:  # by another run, while this one waited
                        self._prepare(folder)
            except OSError as error:
                raise InputError(
                    f"{folder} cannot be written ({error.strerror}): make room or choose another dataset.prepared_dir, "
                    "and run the same command again; it goes on where it stopped."
                ) from error
        (folder / JOURNAL).unlink(missing_ok=True)  # of a run killed in its last moment
        return json.loads((folder / "card.json").read_text(encoding="utf-8"))

    def _prepare(self, folder: Path) -> None:
        manifest, failures, sums = prepare(
            folder,
            self.inventory.clips,
            self.tasks(self.inventory),
            detector=self.detector,
            alignment=self.alignment,
            max_failures=self.max_failures,
            description=f"{self.corpus}: cutting out faces",
        )
        failures = pd.concat([self.inventory.dropped, failures], ignore_index=True)
        write_csv(folder / "failures.csv", spreadsheet(self._with_left_out(failures)))
        write_card(folder, self, manifest, failures, sums)
        # Last: with it the folder is whole.
        with writing(folder / "manifest.parquet") as partial:
            manifest.to_parquet(partial)

    def _with_left_out(self, failures: pd.DataFrame) -> pd.DataFrame:
        """Files that failed, then those that are left out now."""
        left_out = pd.DataFrame(self.inventory.left_out, columns=["path", "reason"])
        return pd.concat([failures.assign(outcome=FAILED), left_out.assign(outcome=LEFT_OUT)], ignore_index=True)

    # From faces to frames

    def read_corpus(self) -> pd.DataFrame:
        """The frames that have a face, prepared first where need be."""
        folder = self.prepared
        if not self.is_prepared:
            card = self.prepare_faces()
            log.info(summary(card))
        if self.image_size > self.alignment.size:
            log.warning(
                "faces of %d px are shown at %d: dataset.face_size=%d prepares them as large as that.",
                *(self.alignment.size, self.image_size, self.image_size),
            )
        failures = read_csv(folder / "failures.csv")
        failures = failures[failures["outcome"] == FAILED] if "outcome" in failures else failures
        self.failures = self._with_left_out(failures)  # which files are left out may have changed since
        if failed := self.failed_files:
            log.warning(
                "%d of %d files give no face (first: %s: %s): see failures.csv in the run folder.",
                failed,
                len(self.inventory.clips) + len(self.inventory.dropped),
                *self.failures[["path", "reason"]].iloc[0],
            )
        manifest = pd.read_parquet(folder / "manifest.parquet")
        manifest = manifest[manifest["face"].notna()]
        lost = sorted(set(self.inventory.clips["emotion"]) - set(manifest["emotion"]))
        if lost:
            raise InputError(
                f"no face of {', '.join(lost)} was found in any of its files (see {folder / 'failures.csv'}), so that "
                "it would not be trained: mend the files, choose another detector, or leave the emotion out."
            )
        return manifest

    def open_pictures(self, frames: pd.DataFrame) -> Callable[[int], np.ndarray]:
        """Reads prepared faces."""
        folder, faces = self.prepared, frames["face"].to_numpy(dtype=object)

        def read(row: int) -> np.ndarray:
            try:
                return read_picture(folder / faces[row])
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{folder / faces[row]} cannot be read any more ({error}): remove {folder} to prepare it anew."
                ) from error

        return read

    def fingerprint(self) -> str:
        """The prepared folder, whose name changes with all that shapes it."""
        return self.prepared.name
