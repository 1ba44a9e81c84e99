"""What was reached: scores with their intervals, best first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import listed
from fervid.metrics.aggregation import confusion, level_predictions
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, run_confusions
from fervid.report.systems import System
from fervid.schema.columns import keys
from fervid.schema.tables import Table

FEW_FRAMES = 20  # of an emotion in the test: its recall is a matter of chance


def score_table(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table:
    """Frame and clip scores of systems that compare, best first.

    Args:
        systems: tested on the same rows.
        number: of the set they make.
        resamples: of people, for the intervals.
        seed: of the resamples.
    """
    rows: list[dict[str, Any]] = []
    for system in systems:
        levels = [level_predictions(run.predictions, system.class_names) for run in system.runs]
        values = {
            level: pd.DataFrame([scores(confusion(each[level], system.class_names)).means() for each in levels])
            for level in levels[0]
        }
        intervals = {
            level: bootstrap_intervals(
                run_confusions(table, system.class_names, system.unit), resamples=resamples, seed=seed
            )
            for level, table in (("frames", system.frames), ("clips, mean", system.clips_by_run))
            if level in values
        }
        rows.append(
            {"system": system.name, "runs": len(system.runs), "leakage": system.level}
            | {
                f"{measure} {level}": _with_spread(values[level][key], intervals.get(level, {}).get(key))
                for level in values
                for key, measure in (("uar", "UAR"), ("accuracy", "WAR"))
                if level in intervals or key == "uar"
            }
            | {"_order": values["frames"]["uar"].mean()}
        )
    data = pd.DataFrame(rows).sort_values("_order", ascending=False).drop(columns="_order")
    notes = _score_notes(systems, resamples, has_clips="UAR clips, mean" in data)
    return Table(f"scores_{number}", describe_set(systems, number), data, notes=notes)


def _score_notes(systems: Sequence[System], resamples: int, *, has_clips: bool) -> list[str]:
    """What a reader must know of the scores and their intervals."""
    by_people, people = systems[0].unit == "subject", keys(systems[0].frames, "subject").nunique()
    frames = systems[0].runs[0].predictions
    brackets = (
        f"In brackets: 95 % intervals, percentiles of {resamples} bootstrap samples of "
        + ("people, each with all of their frames." if by_people else "clips, since it is unknown who is seen.")
        + (" Of fewer than ten people they are too narrow." if by_people and people < 10 else "")
    )
    if keys(systems[0].frames, systems[0].unit).nunique() < 2:
        brackets = f"Of a single {'person' if by_people else 'clip'} no interval can be given."
    notes = [
        f"Emotions: {', '.join(systems[0].class_names)}; chance: UAR {1 / len(systems[0].class_names):.1%}.",
        brackets,
    ]
    if has_clips:
        notes.append(
            "Clips: the mean of the frames' probabilities, the majority of the frames, the mean weighted by confidence."
        )
    counts = frames["label"].value_counts()
    few = [f"{name} ({counts[name]})" for name in sorted(counts.index) if counts[name] < FEW_FRAMES]
    if few:
        told = "Such recalls, and the UAR with them, are more uncertain than the intervals say."
        notes.append(f"Fewer than {FEW_FRAMES} test frames: {listed(few)}. {told}")
    if any(len(system.runs) > 1 for system in systems):
        notes.append("Over several runs (seeds, folds): mean ± standard deviation; the interval is that of the mean.")
    return notes


def describe_set(systems: Sequence[System], number: int) -> str:
    """What systems that compare were tested on, in one line."""
    first = systems[0]
    data, people = first.runs[0].results["data"], keys(first.frames, "subject").nunique()
    corpus = f"{data['corpus']}{', rendered' if data.get('rendered') else ''}"
    who = f" of {people} people" if people else ""
    splits = ", ".join(sorted({str(system.runs[0].setting("split")) for system in systems}))
    return f"Set {number}: {corpus}, split {splits}, tested on {len(first.clips)} clips{who}"


def summary_table(systems: Sequence[System], sets: Sequence[Sequence[System]]) -> Table:
    """All systems in few columns, best first within their set."""
    number = {id(system): n for n, each in enumerate(sets, start=1) for system in each}
    rows = [
        {
            "set": number[id(system)],
            "system": system.name,
            "leakage": system.level,
            "runs": len(system.runs),
            **{
                title: _with_spread(pd.Series([run.metric(key) for run in system.runs]), None)
                for title, key in (
                    ("UAR frames", "test/uar"),
                    ("WAR frames", "test/accuracy"),
                    ("UAR clips", "test/clip_uar"),
                )
            },
            "_order": system.mean_metric("test/uar"),
        }
        for system in systems
    ]
    data = pd.DataFrame(rows).sort_values(["set", "_order"], ascending=[True, False]).drop(columns="_order")
    return Table(
        "summary", "What was reached", data, notes=["Systems of one set compare; those of different sets do not."]
    )


def _with_spread(values: pd.Series, interval: tuple[float, float] | None) -> str:
    if values.isna().all():
        return ""
    text = f"{values.mean():.1%}"
    if len(values) > 1:
        text += f" ± {100 * values.std():.1f}"
    if interval is not None and np.isfinite(interval[0]):
        text += f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return text
