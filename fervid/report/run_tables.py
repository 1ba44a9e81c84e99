"""Tables of all folders that a report read, and of sets of systems that cannot be compared."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.report.systems import System, reason_not_comparable
from fervid.runs.run import Run
from fervid.schema.tables import Table


def incomparable_table(sets: Sequence[Sequence[System]]) -> Table | None:
    """Returns why systems of different sets cannot be compared; None if there is only one set."""
    rows = [
        {"sets": f"{first} and {second}", "reason": reason_not_comparable(one[0], other[0])}
        for (first, one), (second, other) in combinations(enumerate(sets, start=1), 2)
    ]
    if not rows:
        return None
    return Table(
        "not_compared",
        "Not compared",
        pd.DataFrame(rows),
        notes=["Scores on different test rows or emotions are not comparable; no tests are computed between sets."],
    )


def run_table(systems: Sequence[System], duplicates: Sequence[Run], unusable: dict[Path, str]) -> Table:
    """Returns a row for every folder that was read: its run, or why it was skipped."""
    rows: list[dict[str, Any]] = [
        {
            "folder": str(run.folder),
            "system": system.name,
            "seed": run.setting("seed"),
            "fold": run.setting("split.fold"),
            "epochs": run.results.get("epochs"),
            "best epoch": run.results.get("best_epoch"),
            "test flips": "yes" if run.setting("task.test_flips") else None,
            "leakage": str(run.level),
            "seconds": run.results["seconds"]["fit"],
            "remark": " ".join(run.results.get("warnings", [])),
        }
        for system in systems
        for run in system.runs
    ]
    rows += [
        {"folder": str(run.folder), "remark": "skipped: another run has the same settings, seed and data"}
        for run in duplicates
    ]
    rows += [{"folder": str(folder), "remark": f"skipped: {reason}"} for folder, reason in unusable.items()]
    data = pd.DataFrame(rows)
    for name in ("seed", "fold", "epochs", "best epoch"):
        data[name] = data[name].astype("Int64")
    data = data.dropna(axis=1, how="all")
    return Table(
        "runs",
        "Runs",
        data,
        {"seconds": "{:.0f}"},
        [
            "Best epoch: the epoch whose weights were tested. Seconds: training time."
            + " Test flips: outputs for a picture and its mirror image were averaged." * ("test flips" in data)
        ],
    )
