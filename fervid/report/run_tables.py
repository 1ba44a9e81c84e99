"""The folders that a report looked at, and which sets of systems do not compare."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.report.systems import System, why_not
from fervid.runs.run import Run
from fervid.schema.tables import Table


def refusal_table(sets: Sequence[Sequence[System]]) -> Table | None:
    """Why the systems of one set are not laid beside those of another; None if all compare."""
    rows = [
        {"": f"set {first} and set {second}", "reason": why_not(one[0], other[0])}
        for (first, one), (second, other) in combinations(enumerate(sets, start=1), 2)
    ]
    if not rows:
        return None
    return Table(
        "not_compared",
        "Not compared",
        pd.DataFrame(rows),
        notes=["Scores on other test rows or of other emotions do not compare; no test is made between sets."],
    )


def run_table(systems: Sequence[System], doubles: Sequence[Run], unusable: dict[Path, str]) -> Table:
    """Every folder that was looked at: what it is, or why it is left out."""
    rows: list[dict[str, Any]] = [
        {
            "folder": str(run.folder),
            "system": system.name,
            "seed": run.setting("seed"),
            "fold": run.setting("split.fold"),
            "epochs": run.results.get("epochs"),
            "kept": run.results.get("best_epoch"),
            "leakage": str(run.level),
            "seconds": run.results["seconds"]["fit"],
            "remark": " ".join(run.results.get("warnings", [])),
        }
        for system in systems
        for run in system.runs
    ]
    rows += [
        {"folder": str(run.folder), "remark": "left out: another run has the same settings and seed"} for run in doubles
    ]
    rows += [{"folder": str(folder), "remark": f"left out: {reason}"} for folder, reason in unusable.items()]
    data = pd.DataFrame(rows)
    for name in ("seed", "fold", "epochs", "kept"):
        data[name] = data[name].astype("Int64")
    data = data.dropna(axis=1, how="all")
    return Table(
        "runs",
        "The runs",
        data,
        {"seconds": "{:.0f}"},
        ["Kept: the epoch whose weights were kept. Seconds: of training."],
    )
