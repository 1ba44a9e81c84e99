"""Opens the folders of finished runs for comparison; no network is loaded."""

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
from fervid.schema.predictions import TEST_FILE, VALIDATION_FILE, read_predictions
from fervid.schema.results import CLASSIFICATION, RESULTS_FILE, read_results
from fervid.storage.links import refuse_links_out


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        results: its ``results.json``, as :mod:`fervid.schema.results` describes it.
    """

    folder: Path
    results: dict[str, Any]

    @property
    def class_names(self) -> list[str]:
        """The emotions, in the order of the probabilities.

        Raises:
            InputError: if it was trained on another task than classification.
        """
        if self.task != CLASSIFICATION:
            raise InputError(f"{self.folder} is a run of the task {self.task}: this needs one of {CLASSIFICATION}.")
        return self.results["class_names"]

    @property
    def task(self) -> str:
        """What was learned, such as ``classification``."""
        return self.results["task"]

    @property
    def level(self) -> LeakageLevel:
        """What its split leaks."""
        return LeakageLevel(self.results["leakage"]["level"])

    @property
    def corpora(self) -> list[dict[str, Any]]:
        """What was known of each of its corpora (:meth:`fervid.corpora.corpus.Corpus.about`)."""
        return self.results["data"]["corpora"]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The table of the test frames (:mod:`fervid.schema.predictions`)."""
        frames = sum(map(sum, self.results.get("confusion", [])))
        return read_predictions(self.folder / TEST_FILE, self.results.get("class_names", []), frames)

    @cached_property
    def validation(self) -> pd.DataFrame:
        """As :attr:`predictions`, of the validation frames."""
        return read_predictions(self.folder / VALIDATION_FILE, self.results.get("class_names", []))

    @property
    def has_validation(self) -> bool:
        """Whether it left the predictions of its validation frames."""
        return (self.folder / VALIDATION_FILE).exists()

    def metric(self, name: str) -> float:
        """A score of the run, such as ``test/uar``; NaN where there was nothing to measure."""
        value = self.results["metrics"][name]
        return float("nan") if value is None else float(value)

    def setting(self, name: str) -> Any:
        """What the run was told: the option chosen in a group (``backbone``) or a value (``dataset.batch_size``).

        None where the run knows no such setting.
        """
        if name in self.results["choices"]:
            return self.results["choices"][name]
        value: Any = self.results["config"]
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


def find_runs(patterns: str | Sequence[str]) -> tuple[list[Run], dict[Path, str]]:
    """Opens all runs in some folders, at any depth.

    Args:
        patterns: folders or globs; one or a list.

    Returns:
        The finished runs in the order of their folders, and for each folder that holds none the reason.

    Raises:
        InputError: if nothing is there.
    """
    # The command line makes runs=3 a number.
    patterns = [str(pattern) for pattern in (patterns if isinstance(patterns, list | tuple) else [patterns])]
    runs: list[Run] = []
    unusable: dict[Path, str] = {}
    seen: set[Path] = set()
    for pattern in patterns:
        places = [Path(place) for place in glob.glob(str(Path(pattern).expanduser()), recursive=True)]
        # What Hydra leaves of a run that was begun, and what a finished one leaves.
        marks = {
            mark for place in places for name in (".hydra/config.yaml", RESULTS_FILE) for mark in place.rglob(name)
        }
        folders = {mark.parent if mark.name == RESULTS_FILE else mark.parents[1] for mark in marks}
        if not folders:
            raise InputError(f"runs={pattern} names no run: give run folders, or folders that hold some.")
        for folder in sorted(folders):
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            try:
                runs.append(open_run(folder))
            except InputError as error:
                unusable[folder] = str(error)
    if not runs:
        raise InputError(f"none of the {len(unusable)} run folders holds a finished run of this version of fervid.")
    # The tenth job of a sweep comes after the second.
    return natsorted(runs, key=lambda run: run.folder, alg=ns.PATH), dict(sorted(unusable.items()))


def open_run(folder: Path) -> Run:
    """Opens the folder of one finished run.

    Raises:
        InputError: if it holds none, one that another version of fervid left, one with entries of wrong types or
            with references in its configuration, or links that lead out of it; a reason without the folder's name.
    """
    try:
        refuse_links_out(folder)
    except OSError as error:
        raise InputError(f"it cannot be read: {first_line(error)}") from error
    return Run(folder, read_results(folder))
