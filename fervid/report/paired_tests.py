"""Paired tests of two systems on the same clips."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fervid.metrics.statistics import bootstrap_scores, corrected_t, holm, mcnemar, percentile_interval, run_confusions
from fervid.report.systems import REPLICATE_SETTINGS, System
from fervid.runs.run import Run
from fervid.schema.columns import CLIP_KEY
from fervid.schema.tables import Table


def paired_tests(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table | None:
    """Returns differences between comparable systems with intervals and Holm-corrected tests; None for a single system.

    McNemar's exact test considers the clips that exactly one of the two systems classifies correctly. The corrected
    resampled t-test (Nadeau & Bengio 2003) considers the differences in clip UAR over folds or seeds.

    Args:
        systems: systems tested on the same rows.
        number: number of the set of systems.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
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
        correct_a, correct_b = both["predicted_a"] == both["label_a"], both["predicted_b"] == both["label_b"]
        only_a, only_b, p = mcnemar(correct_a.to_numpy(), correct_b.to_numpy())
        difference = _clip_uar(one) - _clip_uar(other)
        low, high = percentile_interval(drawn[id(one)] - drawn[id(other)])
        interval = f" ({100 * low:+.1f} to {100 * high:+.1f})" if np.isfinite(low) else ""
        rows.append(
            {
                "A": one.name,
                "B": other.name,
                "clips": len(both),
                "UAR clips, A - B": f"{100 * difference:+.1f} points{interval}" if np.isfinite(difference) else None,
                "only A correct": only_a,
                "only B correct": only_b,
                "McNemar p": p,
                "t test p": _t_test(one, other),
            }
        )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    for name in ("McNemar p", "t test p"):
        data[f"{name}, Holm"] = holm(data[name].to_numpy(dtype=float))
    ordered = [
        "A",
        "B",
        "clips",
        "UAR clips, A - B",
        "only A correct",
        "only B correct",
        "McNemar p",
        "McNemar p, Holm",
    ]
    notes = [
        "In parentheses: 95% bootstrap interval of the difference; both systems use the same resamples of subjects "
        "(or clips).",
        "p: probability of a difference at least this large if both systems were equally good. Holm: corrected for the "
        "number of pairs in this table.",
        "McNemar's test assumes independent clips, but clips of one subject are correlated: rely on the interval "
        "first. For several runs the test uses the mean of their probabilities.",
    ]
    if data["t test p"].notna().any():
        ordered += ["t test p", "t test p, Holm"]
        notes.append(
            "t test: corrected resampled t-test over folds or seeds (Nadeau and Bengio 2003), which allows for "
            "overlapping training subsets and assumes that each test subset is drawn independently."
        )
    formats = {name: "{:.3f}" for name in ordered if " p" in name}
    return Table(f"tests_{number}", f"Set {number}: paired tests", data[ordered], formats, notes)


def _clip_uar(system: System) -> float:
    return float(pd.Series([run.metric("test/clip_uar") for run in system.runs]).mean())


def _t_test(one: System, other: System) -> float | None:
    def by_replicate(system: System) -> dict[Any, Run]:
        return {tuple(run.setting(name) for name in REPLICATE_SETTINGS): run for run in system.runs}

    ours, theirs = by_replicate(one), by_replicate(other)
    shared = [key for key in ours if key in theirs]
    if len(shared) < 2:
        return None
    differences = [ours[key].metric("test/clip_uar") - theirs[key].metric("test/clip_uar") for key in shared]
    sizes = [ours[key].results["data"]["split"] for key in shared]
    _, p = corrected_t(differences, train=[size["train"] for size in sizes], test=[size["test"] for size in sizes])
    return p
