"""Whether one system is better than another on the same clips."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fervid.metrics.statistics import bootstrap_scores, corrected_t, holm, mcnemar, percentile_interval, run_confusions
from fervid.report.systems import REPEATS, System
from fervid.runs.run import Run
from fervid.schema.columns import CLIP_KEY
from fervid.schema.tables import Table


def paired_tests(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table | None:
    """Differences of systems that compare, with intervals and paired tests, Holm-corrected; None for a single one.

    McNemar's exact test looks at the clips that one of the two is right about and the other is not; the corrected t
    test (Nadeau & Bengio 2003) at the differences in clip UAR over folds or seeds.

    Args:
        systems: tested on the same rows.
        number: of the set they make.
        resamples: of people, for the intervals.
        seed: of the resamples.
    """
    drawn = {
        id(system): bootstrap_scores(
            run_confusions(system.clips_by_run, system.class_names, system.unit), resamples=resamples, seed=seed
        )["uar"]
        for system in systems
    }
    rows = []
    for one, other in combinations(systems, 2):
        both = one.clips.merge(other.clips, on=CLIP_KEY, suffixes=("_a", "_b"))
        right_a, right_b = both["predicted_a"] == both["label_a"], both["predicted_b"] == both["label_b"]
        only_a, only_b, p = mcnemar(right_a.to_numpy(), right_b.to_numpy())
        ahead = _clip_uar(one) - _clip_uar(other)
        low, high = percentile_interval(drawn[id(one)] - drawn[id(other)])
        interval = f" ({100 * low:+.1f} to {100 * high:+.1f})" if np.isfinite(low) else ""
        rows.append(
            {
                "A": one.name,
                "B": other.name,
                "clips": len(both),
                "UAR clips, A - B": f"{100 * ahead:+.1f} points{interval}" if np.isfinite(ahead) else None,
                "only A right": only_a,
                "only B right": only_b,
                "McNemar p": p,
                "t test p": _t_test(one, other),
            }
        )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    for name in ("McNemar p", "t test p"):
        data[f"{name}, Holm"] = holm(data[name].to_numpy(dtype=float))
    ordered = ["A", "B", "clips", "UAR clips, A - B", "only A right", "only B right", "McNemar p", "McNemar p, Holm"]
    notes = [
        "In brackets: 95 % intervals of the difference, the same people (or clips) drawn for both.",
        "p: how often a difference at least as large would be seen if there were none. Holm: corrected for the number "
        "of pairs in this table.",
        "McNemar's test takes clips for independent of each other, which those of one person are not quite: believe "
        "the interval first. Of several runs it looks at the mean of their probabilities.",
    ]
    if data["t test p"].notna().any():
        ordered += ["t test p", "t test p, Holm"]
        notes.append(
            "t test: Nadeau and Bengio's (2003) over folds or seeds, corrected for training sides that overlap; it "
            "takes test sides for drawn anew each time."
        )
    formats = {name: "{:.3f}" for name in ordered if " p" in name}
    return Table(f"tests_{number}", f"Set {number}: paired tests", data[ordered], formats, notes)


def _clip_uar(system: System) -> float:
    return float(pd.Series([run.metric("test/clip_uar") for run in system.runs]).mean())


def _t_test(one: System, other: System) -> float | None:
    def by_rows(system: System) -> dict[Any, Run]:
        return {tuple(run.setting(name) for name in REPEATS): run for run in system.runs}

    ours, theirs = by_rows(one), by_rows(other)
    shared = [key for key in ours if key in theirs]
    if len(shared) < 2:
        return None
    differences = [ours[key].metric("test/clip_uar") - theirs[key].metric("test/clip_uar") for key in shared]
    sides = [ours[key].results["data"]["split"] for key in shared]
    _, p = corrected_t(differences, train=[side["train"] for side in sides], test=[side["test"] for side in sides])
    return p
