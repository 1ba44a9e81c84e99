"""Opens the folders of finished runs for comparison, without loading a network."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from natsort import natsorted, ns

from fervid.errors import InputError, first_line
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.parts import Part, parts_of
from fervid.schema.predictions import TEST_FILE, VALIDATION_FILE, read_predictions
from fervid.schema.results import CLASSIFICATION, RESULTS_FILE, read_results
from fervid.storage.links import refuse_links_out


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: run folder.
        results: content of ``results.json`` (:mod:`fervid.schema.results`).
    """

    folder: Path
    results: dict[str, Any]

    @property
    def class_names(self) -> list[str]:
        """The emotions, in the order of the probabilities.

        Raises:
            InputError: if the task of the run is not classification.
        """
        if self.task != CLASSIFICATION:
            raise InputError(f"{self.folder} is a run of the task {self.task}: {CLASSIFICATION} is needed.")
        return self.results["class_names"]

    @property
    def parts(self) -> list[Part]:
        """The parts of the task, with the columns of their labels and predictions; empty for a task of your own."""
        return parts_of(self.results)

    @property
    def task(self) -> str:
        """Name of the task, such as ``classification``."""
        return self.results["task"]

    @property
    def classifies_pictures(self) -> bool:
        """Whether the run was trained on single pictures, instead of clips, sounds or feature tables."""
        return self.samples == "frames"

    @property
    def level(self) -> LeakageLevel:
        """Leakage level of the split and the initial weights."""
        return LeakageLevel(self.results["leakage"]["level"])

    @property
    def corpora(self) -> list[dict[str, Any]]:
        """Description of each corpus (:meth:`fervid.corpora.corpus.Corpus.about`)."""
        return self.results["data"]["corpora"]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the test frames (:mod:`fervid.schema.predictions`)."""
        frames = sum(map(sum, self.results.get("confusion", [])))
        return read_predictions(self.folder / TEST_FILE, self.results.get("class_names", []), frames, self.parts)

    @cached_property
    def validation(self) -> pd.DataFrame:
        """Predictions of the validation frames."""
        return read_predictions(self.folder / VALIDATION_FILE, self.results.get("class_names", []), parts=self.parts)

    @property
    def has_validation(self) -> bool:
        """Whether the run has predictions of its validation frames."""
        return (self.folder / VALIDATION_FILE).exists()

    @property
    def modalities(self) -> list[str]:
        """The modalities of a sample (:class:`fervid.data.samples.Sample`)."""
        return (self.results["config"].get("sample") or {}).get("modalities") or ["image"]

    @property
    def samples(self) -> str:
        """What a sample is: ``clips`` or ``frames``."""
        is_frame = "image" in self.modalities and (self.setting("sample.frames") is None)
        return "frames" if is_frame else "clips"

    def metric(self, name: str) -> float:
        """Returns a score of the run, such as ``test/uar``; NaN if it could not be measured."""
        value = self.results["metrics"][name]
        return float("nan") if value is None else float(value)

    def setting(self, name: str) -> Any:
        """Returns a setting of the run; None if the run has no such setting.

        Args:
            name: name of a group (``backbone``), for the option chosen in it, or of a value (``dataset.batch_size``).
        """
        if name in self.results["choices"]:
            return self.results["choices"][name]
        value: Any = self.results["config"]
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


def find_runs(patterns: str | Sequence[str]) -> tuple[list[Run], dict[Path, str]]:
    """Opens all finished runs in the given folders, at any depth.

    Args:
        patterns: a folder or glob pattern, or a list of them.

    Returns:
        The finished runs in the natural order of their folders, and for each folder without a finished run the reason.

    Raises:
        InputError: if a pattern matches no run, or no run is finished.
    """
    # On the command line, runs=3 is parsed as a number.
    patterns = [str(pattern) for pattern in (patterns if isinstance(patterns, list | tuple) else [patterns])]
    runs: list[Run] = []
    unusable: dict[Path, str] = {}
    seen: set[Path] = set()
    for pattern in patterns:
        matches = [Path(match) for match in glob.glob(str(Path(pattern).expanduser()), recursive=True)]
        # Hydra writes the first file when a run starts; a finished run has the second.
        files = {
            file for match in matches for name in (".hydra/config.yaml", RESULTS_FILE) for file in match.rglob(name)
        }
        folders = {file.parent if file.name == RESULTS_FILE else file.parents[1] for file in files}
        if not folders:
            raise InputError(f"runs={pattern} contains no run: give run folders, or folders that contain runs.")
        for folder in sorted(folders):
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            try:
                runs.append(open_run(folder))
            except InputError as error:
                unusable[folder] = str(error)
    if not runs:
        raise InputError(
            f"none of the {len(unusable)} run folders contains a finished run of this version of fervid: train one "
            "first, or give other folders."
        )
    # Natural order, so that job 10 of a sweep comes after job 2.
    return natsorted(runs, key=lambda run: run.folder, alg=ns.PATH), dict(sorted(unusable.items()))


def open_run(folder: Path) -> Run:
    """Opens the folder of a finished run.

    Raises:
        InputError: if the folder has no finished run, one written by another version of fervid, one with entries of
            wrong types or with references in its configuration, or links that lead out of it. The message is a reason
            without the name of the folder.
    """
    try:
        refuse_links_out(folder)
    except OSError as error:
        raise InputError(f"it cannot be read: {first_line(error)}") from error
    return Run(folder, read_results(folder))


def read_run(folder: Path) -> Run:
    """Opens the folder of a finished run.

    Raises:
        InputError: if the folder contains no finished run, or one written by another version of fervid.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder of a finished run.")
    try:
        return open_run(folder)
    except InputError as error:
        raise InputError(f"{folder} contains no finished run that can be opened: {error}.") from error
