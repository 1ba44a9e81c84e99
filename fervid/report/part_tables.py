"""Tables of a report on tasks with parts: valence and arousal, action units, and several targets."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fervid.metrics.aggregation import confusion
from fervid.metrics.parts import (
    EMOTION_SCORES,
    MAIN_SCORES,
    MEASURES,
    PART_TITLES,
    SCORE_TITLES,
    bootstrap_part,
    clip_means,
    part_scores,
)
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, percentile_interval, run_confusions
from fervid.report.group_tables import MIN_SUBJECT_FRAMES
from fervid.report.paired_tests import paired_tests
from fervid.report.score_tables import describe_set, interval_note, score_table, with_spread
from fervid.report.systems import System, sample_noun
from fervid.schema.columns import grouping_columns, keys
from fervid.schema.parts import EMOTION, UNITS, Part
from fervid.schema.tables import Table


def part_summary(systems: Sequence[System], sets: Sequence[Sequence[System]]) -> Table:
    """Returns the main scores of all systems, best first within each set."""
    number = {id(system): n for n, each in enumerate(sets, start=1) for system in each}
    rows = [
        {"set": number[id(system)], "system": system.name, "leakage": system.level, "runs": len(system.runs)}
        | {
            title: with_spread(pd.Series([run.metric(f"test/{name}") for run in system.runs]), None, share=share)
            for title, (name, share) in _summary_scores(system).items()
        }
        | {"_order": system.mean_metric(f"test/{next(iter(_summary_scores(system).values()))[0]}")}
        for system in systems
    ]
    data = pd.DataFrame(rows).sort_values(["set", "_order"], ascending=[True, False]).drop(columns="_order")
    notes = ["Only systems of the same set are comparable: they share test rows and outputs."]
    if "mean score" in data:
        notes.append("Mean score: mean of the main scores of all parts, each of which is 1 if perfect.")
    return Table("summary", "Results", data.fillna(""), notes=notes)


def _summary_scores(system: System) -> dict[str, tuple[str, bool]]:
    """Names of the scores in the summary and whether they are in percent, by their titles; the main one first."""
    samples = sample_noun([system])
    if len(system.parts) > 1:
        mains = [MAIN_SCORES[part.name] for part in system.parts]
        return {"mean score": ("mean_score", False)} | {
            SCORE_TITLES[name]: (name, name not in ("ccc",)) for name in mains
        }
    measure = MEASURES[system.parts[0].name]
    found = {f"{title} {samples}" if name == measure.main else title: name for title, name in measure.shown.items()}
    has_clips = measure.has_clips and all(f"test/clip_{measure.main}" in run.results["metrics"] for run in system.runs)
    if has_clips:
        found["CCC clips"] = f"clip_{measure.main}"
    return {title: (name, name in measure.shares) for title, name in found.items()}


def part_score_tables(sets: Sequence[Sequence[System]], name: str, *, resamples: int, seed: int) -> list[Table]:
    """Returns a table for each set of systems with the scores of a part and their intervals, best first."""
    tables = []
    for number, group in enumerate(sets, start=1):
        if not group:
            continue
        if name == EMOTION:
            tables.append(score_table(group, number, resamples=resamples, seed=seed))
            continue
        measure, rows = MEASURES[name], []
        for system in group:
            row: dict[str, Any] = {"system": system.name, "runs": len(system.runs), "leakage": system.level}
            part = found_part(system, name)
            for level, tested, found in _levels(system, part):
                drawn = bootstrap_part(tested, part, system.unit, resamples=resamples, seed=seed)
                row |= {
                    f"{title} {level}": with_spread(
                        found[score], percentile_interval(drawn[score]), share=score in measure.shares
                    )
                    for title, score in measure.shown.items()
                }
                row.setdefault("_order", found[measure.main].mean())
            rows.append(row)
        data = pd.DataFrame(rows).sort_values("_order", ascending=False).drop(columns="_order")
        notes = [interval_note(group, resamples), *part_notes(name)]
        if any(len(system.runs) > 1 for system in group):
            notes.append("Several runs (seeds or folds): mean ± standard deviation; the interval is that of the mean.")
        tables.append(Table(f"{name}_{number}", describe_set(group, number), data, notes=notes))
    return tables


def _levels(system: System, part: Part) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Returns for frames, and for clips if they are scored, the predictions and the scores of each run."""
    levels = [(sample_noun([system]), system.frames)]
    has_clips = any(not keys(run.predictions, "clip").is_unique for run in system.runs)
    if MEASURES[part.name].has_clips and has_clips:
        levels.append(("clips", clip_means(system.frames, part)))
    return [
        (level, table, pd.DataFrame([part_scores(each, part) for _, each in table.groupby("run")]))
        for level, table in levels
    ]


def part_notes(name: str) -> list[str]:
    """Returns the notes that explain the scores of a part."""
    if name == EMOTION:
        return []
    if name == UNITS:
        return [
            "F1: mean over the units of the harmonic mean of precision and recall; balanced accuracy: mean recall of "
            "presence and absence, 50% by chance. A unit counts as predicted from a probability of 0.5 on."
        ]
    return [
        "CCC: concordance correlation coefficient, 1 if predictions equal the labels and 0 if they are unrelated or "
        "constant. Without a suffix, scores are means over valence and arousal. Clips: means over their frames."
    ]


def part_tests(sets: Sequence[Sequence[System]], name: str, *, resamples: int, seed: int) -> list[Table]:
    """Returns differences of the main score of a part between systems of the same set, with intervals."""
    if name == EMOTION:
        tests = [paired_tests(group, number, resamples=resamples, seed=seed) for number, group in enumerate(sets, 1)]
        return [test for test in tests if test is not None]
    measure, title, tables = MEASURES[name], SCORE_TITLES[MAIN_SCORES[name]], []
    share = measure.main in measure.shares
    for number, group in enumerate(sets, start=1):
        drawn = {
            id(system): bootstrap_part(
                system.frames, found_part(system, name), system.unit, resamples=resamples, seed=seed
            )[measure.main]
            for system in group
        }
        rows = []
        for one, other in combinations(group, 2):
            difference = one.mean_metric(f"test/{measure.main}") - other.mean_metric(f"test/{measure.main}")
            low, high = percentile_interval(drawn[id(one)] - drawn[id(other)])
            factor, digits, unit = (100, 1, " points") if share else (1, 3, "")
            interval = f" ({factor * low:+.{digits}f} to {factor * high:+.{digits}f})" if np.isfinite(low) else ""
            rows.append(
                {
                    "A": one.name,
                    "B": other.name,
                    f"{title}, A - B": f"{factor * difference:+.{digits}f}{unit}{interval}",
                }
            )
        if rows:
            notes = [
                "In parentheses: 95% bootstrap interval of the difference; both systems use the same resamples of "
                "subjects (or clips). If it excludes 0, the difference is unlikely to be due to chance."
            ]
            tables.append(Table(f"tests_{name}_{number}", f"Set {number}: paired tests", pd.DataFrame(rows), {}, notes))
    return tables


def member_scores(systems: Sequence[System], *, resamples: int, seed: int) -> list[Table]:
    """Returns for each part a table with one row for each system and score, with confidence intervals.

    Args:
        systems: systems with a single run each, tested on the same frames.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    tables: list[Table] = []
    options = {"resamples": resamples, "seed": seed}
    for part in systems[0].parts:
        rows: list[dict[str, Any]] = []
        for system in systems:
            if part.name == EMOTION:
                counts = run_confusions(system.frames, system.class_names, system.unit)
                intervals, values = bootstrap_intervals(counts, **options), all_scores(system.frames, [part])
                rows += [
                    {
                        "model": system.name,
                        "score": title,
                        sample_noun(systems): with_spread(pd.Series([values[name]]), intervals[name]),
                    }
                    for title, name in EMOTION_SCORES.items()
                ]
                continue
            measure = MEASURES[part.name]
            by_level = {
                level: (found, bootstrap_part(table, part, system.unit, **options))
                for level, table, found in _levels(system, part)
            }
            rows += [
                {"model": system.name, "score": title}
                | {
                    level: with_spread(found[name], percentile_interval(drawn[name]), share=name in measure.shares)
                    for level, (found, drawn) in by_level.items()
                }
                for title, name in measure.shown.items()
            ]
        data = pd.DataFrame(rows)
        # What is the same for all parts is said once.
        notes = [*([] if tables else [interval_note(systems, resamples)]), *part_notes(part.name)]
        title = f"{PART_TITLES[part.name]}, {systems[0].level}: {len(systems[0].frames)} {sample_noun(systems)}"
        tables.append(Table(f"members_{part.name}", title, data.drop(columns="model" if len(systems) == 1 else []),
                            notes=notes))  # fmt: skip
    return tables


def all_scores(table: pd.DataFrame, parts: Sequence[Part]) -> dict[str, float]:
    """Returns the scores of all parts over the rows of a predictions table, by their names without prefix."""
    found: dict[str, float] = {}
    for part in parts:
        if part.name == EMOTION:
            found |= scores(confusion(table, list(part.names))).means()
        else:
            found |= part_scores(table, part)
    return found


def _shown(parts: Sequence[Part]) -> dict[str, str]:
    """Names of the scores of subjects and groups, by their titles."""
    found: dict[str, str] = {}
    for part in parts:
        titles = EMOTION_SCORES if part.name == EMOTION else MEASURES[part.name].shown
        kept = ("uar", "ccc", "rmse", "f1_units", "balanced_accuracy_units")
        found |= {SCORE_TITLES.get(name, title): name for title, name in titles.items() if name in kept}
    return found


def part_subject_table(systems: Sequence[System]) -> Table | None:
    """Returns the scores of each subject with enough test frames; None if there is none or they are unknown."""
    rows, samples = [], sample_noun(systems)
    for system in systems:
        for subject, part in system.frames.groupby(keys(system.frames, "subject")):
            if len(part) >= MIN_SUBJECT_FRAMES:
                row = {"system": system.name, "leakage": system.level, "subject": str(subject), samples: len(part)}
                rows.append(row | _titled(part, system))
    if not rows:
        return None
    notes = [f"Subjects with fewer than {MIN_SUBJECT_FRAMES} test {samples} are omitted."]
    return Table("subjects", "Scores by subject", pd.DataFrame(rows), _formats(systems), notes)


def part_group_table(systems: Sequence[System]) -> Table | None:
    """Returns scores by subject attributes and recording conditions; None if there are none."""
    rows: list[dict[str, Any]] = []
    samples = sample_noun(systems)
    for system in systems:
        for column in grouping_columns(system.frames):
            for value, part in system.frames.groupby(column):
                row: dict[str, Any] = {"system": system.name, "leakage": system.level}
                row |= {"by": column, "value": str(value)}
                row |= {"subjects": keys(part, "subject").nunique() or None, samples: len(part)}
                rows.append(row | _titled(part, system))
    if not rows:
        return None
    data = pd.DataFrame(rows).astype({"subjects": "Int64"})
    notes = ["Differences between groups with few subjects may be due to chance: see the column subjects."]
    return Table("groups", "Scores by subject attribute and recording condition", data, _formats(systems), notes)


def _titled(table: pd.DataFrame, system: System) -> dict[str, float]:
    found = all_scores(table, system.parts)
    return {title: found[name] for title, name in _shown(system.parts).items()}


def _formats(systems: Sequence[System]) -> dict[str, str]:
    shown = {title: name for system in systems for title, name in _shown(system.parts).items()}
    return {title: "{:.3f}" if name in ("ccc", "rmse") else "{:.1%}" for title, name in shown.items()}


def part_named(system: System, name: str) -> Part | None:
    """Returns a part of a system by its name; None if it has no such part."""
    return next((part for part in system.parts if part.name == name), None)


def found_part(system: System, name: str) -> Part:
    """Returns a part of a system that has it."""
    part = part_named(system, name)
    assert part is not None
    return part
