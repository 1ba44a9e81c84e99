"""The face crops of a corpus: decode, detect, align, crop.

A prepared folder contains:

==================  ==================================================================================================
``faces/``          one JPEG per face, in one folder per emotion
``manifest.parquet``  one row per examined frame, with or without a face; written last, so it marks completion
``failures.csv``    files that could not be used: ``path``, ``reason`` and ``outcome`` (``failed`` if there is no usable
                    face, ``left out`` if the file is not part of the corpus)
``card.json``       source, settings, counts, mean and std, detection rate, versions, licence; readable as ``card.md``
``contact_sheet.png``  some faces of each emotion
==================  ==================================================================================================
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.errors import InputError
from fervid.faces.clip_faces import JPEG_QUALITY, ClipTask, crop_faces
from fervid.faces.cropping import Alignment
from fervid.faces.detection import Detector, HaarDetector, NoDetector
from fervid.media.decoding import read_picture
from fervid.media.sampling import Sampling
from fervid.prepare.card import summary, write_card
from fervid.prepare.face_crops import join_faces, write_faces
from fervid.prepare.preparation import Part, prepare_clips
from fervid.prepare.prepared_folder import PreparedFolder

log = logging.getLogger(__name__)

VERSION = 5  # of the preparation; corpora prepared by another version are prepared again


class PreparedCorpus(PreparedFolder):
    """The face crops of a corpus of videos or pictures, extracted once and kept on disk.

    Args:
        corpus: the corpus to prepare.
        detector: face detector. Default: Haar for videos, none for pictures, which are used whole.
        frame_stride: use every ``frame_stride``-th frame of a video.
        frames_per_clip: number of evenly spaced frames per video, used instead of ``frame_stride``.
        window: part of a video to use: ``all`` or ``centre`` (the middle half).
        face_size: side of the crops in pixels.
        margin: fraction of the face added on each side of a crop.
        no_face: how to treat pictures in which the detector finds no face: ``leave_out``, or ``whole`` to take the
            central square as the face, for pictures that are already cropped.
        max_failures: maximum fraction of files that may be unreadable or show no face.
        folder: Path to the folder of prepared corpora; each has its own sub-folder.

    Attributes:
        failures: see :class:`PreparedFolder`; available after :meth:`frames`.

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
        no_face: Literal["leave_out", "whole"] = "leave_out",
        max_failures: float = 0.1,
        folder: str | Path,
    ):
        super().__init__(corpus, max_failures=max_failures, folder=folder)
        self.detector: Detector = detector or (NoDetector() if corpus.pictures else HaarDetector())
        self.sampling = Sampling(frame_stride, frames_per_clip, window)
        self.alignment = Alignment(face_size, margin)
        if no_face not in ("leave_out", "whole"):
            raise InputError(f"dataset.no_face={no_face} is unknown: choose leave_out or whole.")
        self.no_face = no_face

    @property
    def inventory(self) -> Inventory:
        """The result of the corpus reader.

        Raises:
            InputError: if its files have only sound.
        """
        if self.corpus.sound_only:
            raise InputError(
                f"the selected files of dataset={self.name} have only sound and show no faces: select videos, or give "
                "sample=sound."
            )
        return self.corpus.inventory

    def settings(self) -> dict[str, Any]:
        """Returns all settings that determine the crops of a clip: sampling, detection and cropping."""
        sampled = not self.corpus.pictures and self.inventory.windows is None
        detected = self.inventory.faces is None
        return {
            **(vars(self.sampling) if sampled else {}),
            **(self.detector.settings() if detected else {}),
            **({"no_face": self.no_face} if self.detects_faces and self.corpus.pictures else {}),
            **{"face_size": self.alignment.size, "margin": self.alignment.margin, "jpeg_quality": JPEG_QUALITY},
        }

    @property
    def detects_faces(self) -> bool:
        """Whether faces are detected, so that there is a detection rate."""
        return self.inventory.faces is None and not isinstance(self.detector, NoDetector)

    def _key(self) -> list[Any]:
        faces = self.inventory.faces
        key = [VERSION, *super()._key()]
        return key if faces is None else [*key, [face and vars(face) for face in faces]]

    # Preparation

    def _prepare_clips(self, part: Part | None = None) -> None:
        prepare_clips(
            self.folder,
            self.inventory.clips,
            self._tasks(),
            partial(
                crop_faces,
                detector=self.detector,
                alignment=self.alignment,
                whole_if_none=self.no_face == "whole",
            ),
            write_faces,
            max_failures=self.max_failures,
            advice="try another detector",
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
        manifest, failures, sums = join_faces(self.folder, self.inventory.clips)
        failures = pd.concat([self.inventory.dropped, failures], ignore_index=True)
        self._write_failures(failures)
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
        self._write_manifest(manifest)

    # Frames

    def frames(self) -> pd.DataFrame:
        """Returns the frames with a face, one row each; prepares the corpus first if necessary.

        Raises:
            InputError: if the corpus cannot be prepared, or an emotion has no face.
        """
        if not self.is_prepared:
            log.info(summary(self.prepare()))
        manifest = self._read("face")
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

    def open_pictures(self, frames: pd.DataFrame) -> Callable[[int], np.ndarray]:
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
