"""Score tables with confidence intervals, best system first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import listed
from fervid.metrics.aggregation import confusion, level_predictions
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, run_confusions
from fervid.metrics.votes import vote_scores
from fervid.report.systems import System, sample_noun
from fervid.schema.columns import keys
from fervid.schema.tables import Table

DIVERGENCE = "divergence from votes"
MIN_TEST_FRAMES = 20  # an emotion with fewer test frames has an unreliable recall


def score_table(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table:
    """Returns frame and clip scores of comparable systems, best first.

    Args:
        systems: systems tested on the same rows.
        number: number of the set of systems.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    rows: list[dict[str, Any]] = []
    samples = sample_noun(systems)
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
                f"{measure} {samples if level == 'frames' else level}": with_spread(
                    values[level][key], intervals.get(level, {}).get(key)
                )
                for level in values
                for key, measure in (("uar", "UAR"), ("accuracy", "WAR"))
                if level in intervals or key == "uar"
            }
            | _divergence(system)
            | {"_order": values["frames"]["uar"].mean()}
        )
    data = pd.DataFrame(rows).sort_values("_order", ascending=False).drop(columns="_order")
    notes = _score_notes(systems, resamples, has_clips="UAR clips, mean" in data)
    if DIVERGENCE in data:
        notes.append(f"{DIVERGENCE}: mean Kullback-Leibler divergence of {samples}, in nats; smaller is better.")
    return Table(f"scores_{number}", describe_set(systems, number), data, notes=notes)


def _divergence(system: System) -> dict[str, str]:
    """Returns the divergence of the frame predictions of a system from the votes; empty if there are no votes."""
    found = [vote_scores(run.predictions, system.class_names).get("kl_divergence") for run in system.runs]
    values = pd.Series(found, dtype=float)
    if values.isna().any():
        return {}
    return {DIVERGENCE: f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")}


def _score_notes(systems: Sequence[System], resamples: int, *, has_clips: bool) -> list[str]:
    """Notes that explain the scores and their intervals."""
    samples, frames = sample_noun(systems), systems[0].runs[0].predictions
    notes = [
        f"Emotions: {', '.join(systems[0].class_names)}; chance-level UAR: {1 / len(systems[0].class_names):.1%}.",
        interval_note(systems, resamples),
    ]
    if has_clips:
        notes.append(
            "A clip is scored by the mean of its frame probabilities (mean), the majority vote of its frames "
            "(majority), or the mean weighted by the confidence of each frame (confidence)."
        )
    counts = frames["label"].value_counts()
    few = [f"{name} ({counts[name]})" for name in sorted(counts.index) if counts[name] < MIN_TEST_FRAMES]
    if few:
        warning = "Their recalls, and hence the UAR, are less certain than the intervals suggest."
        notes.append(f"Emotions with fewer than {MIN_TEST_FRAMES} test {samples}: {listed(few)}. {warning}")
    if any(len(system.runs) > 1 for system in systems):
        notes.append("Several runs (seeds or folds): mean ± standard deviation; the interval is that of the mean.")
    return notes


def interval_note(systems: Sequence[System], resamples: int) -> str:
    """Explains the intervals in parentheses."""
    by_subject, subjects = systems[0].unit == "subject", keys(systems[0].frames, "subject").nunique()
    if keys(systems[0].frames, systems[0].unit).nunique() < 2:
        return f"No interval can be computed for a single {'subject' if by_subject else 'clip'}."
    samples = sample_noun(systems)
    return (
        f"In parentheses: 95% percentile intervals from {resamples} bootstrap samples of "
        + (f"subjects, each with all of its {samples}." if by_subject else "clips, because the subjects are unknown.")
        + (" With fewer than ten subjects the intervals are too narrow." if by_subject and subjects < 10 else "")
    )


def describe_set(systems: Sequence[System], number: int) -> str:
    """Describes in one line what a set of comparable systems was tested on."""
    first = systems[0]
    data, subjects = first.runs[0].results["data"], keys(first.frames, "subject").nunique()
    corpus = f"{data['corpus']}{' (rendered)' if data.get('rendered') else ''}"
    of_subjects = f" of {subjects} subject{'s'[: subjects != 1]}" if subjects else ""
    splits = ", ".join(sorted({str(system.runs[0].setting("split")) for system in systems}))
    return f"Set {number}: {corpus}, split: {splits}; tested on {len(first.clip_keys)} clips{of_subjects}"


def summary_table(systems: Sequence[System], sets: Sequence[Sequence[System]]) -> Table:
    """Returns the main scores of all systems, best first within each set."""
    number = {id(system): n for n, each in enumerate(sets, start=1) for system in each}
    samples = sample_noun(systems)
    titles = {f"UAR {samples}": "test/uar", f"WAR {samples}": "test/accuracy"}
    if samples == "frames":
        titles["UAR clips"] = "test/clip_uar"
    rows = [
        {
            "set": number[id(system)],
            "system": system.name,
            "leakage": system.level,
            "runs": len(system.runs),
            **{
                title: with_spread(pd.Series([run.metric(key) for run in system.runs]), None)
                for title, key in titles.items()
            },
            "_order": system.mean_metric("test/uar"),
        }
        for system in systems
    ]
    data = pd.DataFrame(rows).sort_values(["set", "_order"], ascending=[True, False]).drop(columns="_order")
    return Table(
        "summary",
        "Results",
        data,
        notes=["Only systems of the same set are comparable: they share test rows and emotions."],
    )


def modality_table(systems: Sequence[System]) -> Table | None:
    """Returns the UAR of systems of several modalities, and of each modality alone; None if there is no such system."""
    rows = []
    for system in systems:
        modalities = system.runs[0].modalities
        keys_of = {"UAR": "test/uar"} | {f"UAR {name} alone": f"test_{name}/uar" for name in modalities}
        # Evaluations predict only with all modalities.
        if len(modalities) > 1 and all(set(keys_of.values()) <= run.results["metrics"].keys() for run in system.runs):
            values = {title: pd.Series([run.metric(key) for run in system.runs]) for title, key in keys_of.items()}
            rows.append(
                {"system": system.name, "leakage": system.level, "runs": len(system.runs)}
                | {title: with_spread(each, None) for title, each in values.items()}
            )
    notes = ["Alone: the scores of the same network if the other modalities are missing."]
    return Table("modalities", "Modalities", pd.DataFrame(rows).fillna(""), notes=notes) if rows else None


def with_spread(values: pd.Series, interval: tuple[float, float] | None, *, share: bool = True) -> str:
    """Describes a score: its mean over runs, their standard deviation and a confidence interval.

    Args:
        values: the score of each run.
        interval: the interval; None or NaN if there is none.
        share: whether the score is shown in percent.
    """
    if values.isna().all():
        return ""
    factor, digits = (100, 1) if share else (1, 3)
    text = f"{factor * values.mean():.{digits}f}{'%' if share else ''}"
    if len(values) > 1:
        text += f" ± {factor * values.std():.{digits}f}"
    if interval is not None and np.isfinite(interval[0]):
        text += f" ({factor * interval[0]:.{digits}f} to {factor * interval[1]:.{digits}f})"
    return text
