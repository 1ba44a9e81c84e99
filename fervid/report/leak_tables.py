"""The same systems under splits that leak more and less."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fervid.report.systems import System, flat_settings, say
from fervid.schema.columns import keys
from fervid.schema.tables import Table


def leak_table(systems: Sequence[System]) -> Table | None:
    """The same system under several splits: what a leaky one promises too much. None if there is no such pair."""
    without: dict[tuple[Any, ...], list[System]] = {}
    for system in systems:
        # All settings: those that go along with the split are not among the system's own.
        settings = {name: value for name, value in flat_settings(system.runs[0]).items() if not _of_split(name)}
        without.setdefault(tuple(settings.items()), []).append(system)
    rows = []
    for twins in without.values():
        if len({_worst_level(twin) for twin in twins}) < 2:
            continue
        twins = sorted(twins, key=_worst_level)
        told = {name: value for name, value in twins[0].told.items() if not _of_split(name)}
        honest = twins[0].mean_metric("test/uar")
        for twin in twins:
            uar, leaks = twin.mean_metric("test/uar"), _worst_level(twin) > _worst_level(twins[0])
            rows.append(
                {
                    "system": say(told) or str(twins[0].runs[0].setting("backbone")),
                    "split": twin.runs[0].setting("split"),
                    "leakage": twin.level,
                    "trained on": round(np.mean([run.results["data"]["split"]["train"] for run in twin.runs])),
                    "people": keys(twin.frames, "subject").nunique() or None,
                    "UAR": uar,
                    "WAR": twin.mean_metric("test/accuracy"),
                    "UAR above": 100 * (uar - honest) if leaks else None,
                }
            )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    data["people"] = data["people"].astype("Int64")
    formats = dict.fromkeys(("UAR", "WAR"), "{:.1%}") | {"UAR above": "{:+.1f}"}
    notes = [
        "The same network and settings under another split, each measured on the frames of its own test side; UAR "
        "above: points above the honest split. Intervals stand with the scores. Trained on: frames; where a split "
        "gives more or fewer of them, that makes a difference too."
    ]
    return Table("leaks", "What leaky splits promise", data, formats, notes)


def _of_split(name: str) -> bool:
    return name.split(".")[0] == "split"


def _worst_level(system: System) -> int:
    return max(run.level.rank for run in system.runs)
