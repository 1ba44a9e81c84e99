"""Opens the folders of finished runs for comparison; no network is loaded."""

import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from natsort import natsorted, ns

from fervid.schema.csv_tables import read_csv
from fervid.schema.errors import InputError, first_line
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.links import refuse_links_out
from fervid.schema.results import missing_entries, mistake


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        results: its ``results.json``.
    """

    folder: Path
    results: dict[str, Any]

    @property
    def class_names(self) -> list[str]:
        """The emotions, in the order of the probabilities."""
        return self.results["class_names"]

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
        """One row a test frame: what the manifest knows of it, ``true``, ``predicted`` and ``p_<emotion>`` each."""
        table = self._read("predictions.csv")
        frames = sum(map(sum, self.results.get("confusion", [])))
        if frames and len(table) != frames:
            self._refuse("predictions.csv", f"it has {len(table)} rows, its results.json speaks of {frames}")
        return table

    @cached_property
    def validation(self) -> pd.DataFrame:
        """As :attr:`predictions`, of the validation frames."""
        return self._read("predictions_val.csv")

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

    def _read(self, name: str) -> pd.DataFrame:
        try:
            table = read_csv(self.folder / name, numbers=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.folder / name} cannot be read: {first_line(error)}.") from error
        chances = [f"p_{emotion}" for emotion in self.class_names]
        needed = ["subject", "clip", "frame", "true", "predicted", *chances]
        missing = [column for column in needed if column not in table]
        if missing:
            self._refuse(name, f"it has no column {', '.join(missing)}")
        if table[needed[3:]].isna().any(axis=None):
            self._refuse(name, "cells are empty, as if it were cut off")
        numbers = [*chances, "frame", *(["index"] if "index" in table else [])]
        text = [column for column in numbers if not pd.api.types.is_numeric_dtype(table[column])]
        if text:
            self._refuse(name, f"its column {text[0]} holds other than numbers")
        if ((table[chances] < -1e-6) | (table[chances] > 1 + 1e-6)).any(axis=None):
            self._refuse(name, "it holds probabilities outside 0 to 1")
        strange = sorted(set(table["true"]).union(table["predicted"]) - set(self.class_names))
        if strange:
            self._refuse(name, f"it tells of {strange[0]!r}, which is not an emotion of the run")
        return table

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise InputError(f"{self.folder / name} cannot be read: {reason}; run it again, or leave it out of runs=.")


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
            mark for place in places for name in (".hydra/config.yaml", "results.json") for mark in place.rglob(name)
        }
        folders = {mark.parent if mark.name == "results.json" else mark.parents[1] for mark in marks}
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
    path = folder / "results.json"
    if not os.path.lexists(path):
        raise InputError("it was not finished")
    try:
        refuse_links_out(folder)
        results = json.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"its results.json cannot be read: {first_line(error)}") from error
    if not isinstance(results, dict):
        raise InputError("its results.json cannot be read: it holds no results")
    missing = missing_entries(results)
    if missing:
        raise InputError(f"its results.json has no {', '.join(missing)}: it was left by another version of fervid")
    wrong = mistake(results)
    if wrong:
        raise InputError(f"its results.json cannot be used: {wrong}")
    return Run(folder, results)
