"""The same systems under splits that leak to different degrees."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fervid.report.systems import System, describe_settings, flat_settings
from fervid.schema.columns import keys
from fervid.schema.tables import Table

CLASS_SCORES = {"UAR": "test/uar", "WAR": "test/accuracy"}


def leak_table(
    systems: Sequence[System], scores: Mapping[str, str] = CLASS_SCORES, *, share: bool = True
) -> Table | None:
    """Returns the scores of systems trained under splits of different leakage levels; None if there are none.

    Args:
        systems: the systems.
        scores: metrics by their titles, the main one first.
        share: whether they are shown in percent.
    """
    main, metric = next(iter(scores.items()))
    by_settings: dict[tuple[Any, ...], list[System]] = {}
    for system in systems:
        # All settings, because those that differ together with the split are not part of system.settings.
        settings = {name: value for name, value in flat_settings(system.runs[0]).items() if not _belongs_to_split(name)}
        by_settings.setdefault(tuple(settings.items()), []).append(system)
    rows = []
    for group in by_settings.values():
        if len({_worst_level(system) for system in group}) < 2:
            continue
        group = sorted(group, key=_worst_level)
        labels = {name: value for name, value in group[0].label_settings.items() if not _belongs_to_split(name)}
        least_leaky = group[0].mean_metric(metric)
        for system in group:
            inflation = system.mean_metric(metric) - least_leaky
            leaks = _worst_level(system) > _worst_level(group[0])
            rows.append(
                {
                    "system": describe_settings(labels) or str(group[0].runs[0].setting("backbone")),
                    "split": system.runs[0].setting("split"),
                    "leakage": system.level,
                    "training frames": round(np.mean([run.results["data"]["split"]["train"] for run in system.runs])),
                    "subjects": keys(system.frames, "subject").nunique() or None,
                    **{title: system.mean_metric(name) for title, name in scores.items()},
                    f"{main} inflation": (100 if share else 1) * inflation if leaks else None,
                }
            )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    data["subjects"] = data["subjects"].astype("Int64")
    formats = dict.fromkeys(scores, "{:.1%}" if share else "{:.3f}")
    formats[f"{main} inflation"] = "{:+.1f}" if share else "{:+.3f}"
    notes = [
        "Network and settings are the same in all rows of a system; only the split differs. Each score is measured on "
        "the test subset of its own split.",
        f"{main} inflation: difference in {main} from the least leaky split{', in percentage points' * share}. Part of "
        "it may come from a different number of training frames.",
        "Confidence intervals: see Scores.",
    ]
    return Table("leaks", "Effect of the split on the scores", data, formats, notes)


def _belongs_to_split(name: str) -> bool:
    # Which corpora are trained and tested on is no way of dividing the same data.
    return name.split(".")[0] in ("split", "identity") and name not in ("split.corpus", "split.train")


def _worst_level(system: System) -> int:
    return max(run.level.rank for run in system.runs)
