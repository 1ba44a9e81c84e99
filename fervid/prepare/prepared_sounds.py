"""The sound of a corpus: decode, mix to mono, resample.

A prepared folder contains:

====================  ================================================================================================
``sounds/``           one WAV file per clip, mono, 16 bits, 16 kHz, in one folder per emotion
``manifest.parquet``  one row per clip; written last, so it marks completion
``failures.csv``      files that could not be used: ``path``, ``reason`` and ``outcome`` (``failed`` if there is no
                      usable sound, ``left out`` if the file is not part of the corpus)
``card.json``         source, settings, counts, durations, levels, versions, licence; readable as ``card.md``
``spectrograms.png``  spectrograms of two clips of each emotion
====================  ================================================================================================
"""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.errors import InputError
from fervid.media.clip_sounds import MIN_SECONDS, SILENT_DB, ClipSound, SoundTask, decode_sound
from fervid.media.sound import MAX_SECONDS, RATE
from fervid.prepare.preparation import Part, list_failures, prepare_clips, read_journals, result_path
from fervid.prepare.prepared_folder import PreparedFolder
from fervid.prepare.sound_card import summary, write_card

log = logging.getLogger(__name__)

VERSION = 1  # of the preparation; sounds prepared by another version are prepared again


class PreparedSounds(PreparedFolder):
    """The sound of the clips of a corpus, decoded once and kept on disk.

    Args:
        corpus: the corpus to prepare; its clips with sound are used (:meth:`fervid.corpora.corpus.Corpus.for_sound`).
        max_failures: maximum fraction of files that may be unreadable or silent.
        folder: Path to the folder of prepared corpora; each has its own sub-folder.

    Attributes:
        failures: see :class:`PreparedFolder`; available after :meth:`sounds`.

    Raises:
        InputError: if a setting is invalid, or the corpus has no sound.
    """

    kind = "sound"

    def __init__(self, corpus: Corpus, *, max_failures: float = 0.1, folder: str | Path):
        super().__init__(corpus.for_sound(), max_failures=max_failures, folder=folder)

    def settings(self) -> dict[str, Any]:
        return {"sample": "sound", "rate": RATE, "max_seconds": MAX_SECONDS, "min_seconds": MIN_SECONDS} | {
            "silent_below_db": SILENT_DB
        }

    def sounds(self) -> pd.DataFrame:
        """Returns the clips with sound, one row each; prepares the corpus first if necessary.

        The column ``sound`` is the path of a WAV file below :attr:`folder`, which
        :func:`fervid.media.sound.read_wav` reads.

        Raises:
            InputError: if the corpus cannot be prepared, or no clip of an emotion has sound.
        """
        if not self.is_prepared:
            log.info(summary(self.prepare()))
        manifest = self._read("sound")
        lost = sorted(set(self.inventory.clips["emotion"]) - set(manifest["emotion"]))
        if lost:
            raise InputError(
                f"no clip of {', '.join(lost)} has usable sound (see {self.folder / 'failures.csv'}): repair the "
                "files, or exclude the emotion."
            )
        return manifest

    def _key(self) -> list[Any]:
        return [VERSION, *super()._key()]

    def _prepare_clips(self, part: Part | None = None) -> None:
        prepare_clips(
            self.folder,
            self.inventory.clips,
            (SoundTask(row, source) for row, source in enumerate(self.corpus.sources())),
            decode_sound,
            _write_sound,
            max_failures=self.max_failures,
            advice="give a corpus with sound",
            description=f"{self.name}: decoding sound",
            part=part,
        )

    def _write(self) -> None:
        manifest, failures = _join(self.folder, self.inventory.clips)
        failures = pd.concat([self.inventory.dropped, failures], ignore_index=True)
        self._write_failures(failures)
        write_card(
            self.folder,
            about=self.about(),
            settings={**self.corpus.choices(), **self.settings()},
            inventory=self.inventory,
            manifest=manifest,
            failures=failures,
        )
        self._write_manifest(manifest)


def _write_sound(folder: Path, clip: pd.Series, result: ClipSound) -> dict[str, Any]:
    """Writes the sound of a clip below ``folder/sounds`` and returns what the journal records of it."""
    if result.failure:
        return {}
    path = result_path(folder / "sounds", result.row, clip, ".wav")
    path.write_bytes(result.wav)
    return {"sound": path.relative_to(folder).as_posix(), **result.facts}


def _join(folder: Path, clips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Joins all journals of a folder into the manifest, one row per clip with sound, and the failures.

    Raises:
        InputError: if no clip has sound.
    """
    entries = sorted(read_journals(folder), key=lambda entry: entry["row"])  # clips finish in any order
    failed = {entry["row"]: entry["failure"] for entry in entries if entry["failure"]}
    table = pd.DataFrame([entry for entry in entries if not entry["failure"]])
    if table.empty:
        raise InputError(f"none of {len(clips)} files has usable sound: check dataset.root and its files.")
    table = table.drop(columns="failure")
    manifest = clips.loc[table.pop("row")].reset_index(drop=True).join(table)
    return manifest, list_failures(clips, failed)
