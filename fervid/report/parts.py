"""Report sections on valence and arousal, on action units, and on tasks with several parts."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fervid import figures
from fervid.metrics.parts import (
    MAIN_SCORES,
    MEASURES,
    PART_TITLES,
    SCORE_TITLES,
    bootstrap_part,
    describe_scores,
    main_score,
    part_scores,
)
from fervid.metrics.statistics import percentile_interval
from fervid.report.classification import (
    MAX_SYSTEM_FIGURES,
    confusion_figure,
    curves_figure,
    omitted_figures,
    present,
)
from fervid.report.group_tables import class_table
from fervid.report.leak_tables import leak_table
from fervid.report.part_tables import (
    found_part,
    part_group_table,
    part_named,
    part_score_tables,
    part_subject_table,
    part_summary,
    part_tests,
)
from fervid.report.run_tables import incomparable_table
from fervid.report.score_tables import with_spread
from fervid.report.systems import System, comparable, sample_noun
from fervid.report.writing import Section
from fervid.schema.parts import EMOTION, UNITS
from fervid.schema.tables import Table


def part_sections(systems: Sequence[System], sentences: Sequence[str], *, resamples: int, seed: int) -> list[Section]:
    """Builds the report sections on systems of one task with parts.

    Args:
        systems: the systems to compare.
        sentences: sentences to add to the summary.
        resamples: number of bootstrap samples for each interval.
        seed: seed of the bootstrap.
    """
    sets = comparable(systems)
    shown = systems[:MAX_SYSTEM_FIGURES]
    sentences = [*sentences, *omitted_figures(systems)]
    sections = [
        Section("Summary", [part_summary(systems, sets)], sentences=sentences, terminal=True),
        Section("Leakage", present(_leaks(systems)), terminal=True),
    ]
    several = len({part.name for system in systems for part in system.parts}) > 1
    for name in dict.fromkeys(part.name for system in systems for part in system.parts):
        with_part = [[each for each in group if part_named(each, name)] for group in sets]
        options = {"resamples": resamples, "seed": seed}
        prefix = f"{PART_TITLES[name]}: " if several else ""
        sections += [
            Section(
                f"{prefix}scores".capitalize(),
                part_score_tables(with_part, name, **options),
                _intervals([system for group in with_part for system in group], name, **options),
            ),
            Section(f"{prefix}paired tests".capitalize(), part_tests(with_part, name, **options)),
            _details([system for system in shown if part_named(system, name)], name, prefix, **options),
        ]
    return [
        *sections,
        Section("Not compared", present(incomparable_table(sets)), terminal=True),
        Section("By subject", present(part_subject_table(systems))),
        Section("By group", present(part_group_table(systems))),
        Section(
            "Training curves",
            figures={
                f"curves_{number}": curves_figure(system, _curve_scores(system))
                for number, system in enumerate(shown, start=1)
                if system.runs[0].results.get("history")
            },
        ),
    ]


def _leaks(systems: Sequence[System]) -> Table | None:
    main = main_score(systems[0].parts)
    return leak_table(systems, {SCORE_TITLES[main]: f"test/{main}"}, share=main == "f1_units")


def _intervals(systems: Sequence[System], name: str, *, resamples: int, seed: int) -> dict[str, Figure]:
    """Draws the main score of a part with its interval."""
    if name == EMOTION:
        return {}
    measure = MEASURES[name]
    values = [system.mean_metric(f"test/{measure.main}") for system in systems]
    ends = [
        percentile_interval(
            bootstrap_part(system.frames, found_part(system, name), system.unit, resamples=resamples, seed=seed)[
                measure.main
            ]
        )
        for system in systems
    ]
    low, high = zip(*ends, strict=True)
    figure = figures.score_intervals(
        [system.name for system in systems],
        values,
        low,
        high,
        [system.level for system in systems],
        score=SCORE_TITLES[measure.main],
        share=measure.main in measure.shares,
    )
    return {f"scores_{name}": figure}


def _details(systems: Sequence[System], name: str, prefix: str, *, resamples: int, seed: int) -> Section:
    """Returns the section with the figures of each system, and the table of emotions or action units."""
    drawn: dict[str, Figure] = {}
    rows: list[dict[str, Any]] = []
    for number, system in enumerate(systems, start=1):
        if name == EMOTION:
            drawn[f"confusion_{number}"] = confusion_figure(system)
            continue
        part, intervals = found_part(system, name), None
        found = part_scores(system.frames, part)
        if name == UNITS:
            sampled = bootstrap_part(system.frames, part, system.unit, resamples=resamples, seed=seed)
            intervals = {each: percentile_interval(values) for each, values in sampled.items()}
            for title, unit in zip(part.titles, part.names, strict=True):
                labels = system.frames[unit]
                values = {each: pd.Series([found[f"{each}_{unit}"]]) for each in ("f1", "balanced_accuracy")}
                rows.append(
                    {
                        "system": system.name,
                        "leakage": system.level,
                        "unit": title,
                        sample_noun(systems): int(labels.notna().sum()),
                        "present": labels.mean(),
                        "F1": with_spread(values["f1"], intervals[f"f1_{unit}"]),
                        "balanced accuracy": with_spread(
                            values["balanced_accuracy"], intervals[f"balanced_accuracy_{unit}"]
                        ),
                    }
                )
        title = f"{system.name}\n{system.level}: {describe_scores(found, part)}"
        drawn[f"{name}_{number}"] = figures.draw_part(system.frames, part, title, intervals)
    if name == EMOTION:
        return Section(f"{prefix}by emotion".capitalize(), [class_table(systems)] if systems else [], drawn)
    if name == UNITS:
        notes = ["Computed over the test frames of all replicates. Present: share of the frames with the unit."]
        table = Table("units", "Scores by action unit", pd.DataFrame(rows), {"present": "{:.1%}"}, notes)
        return Section(f"{prefix}by action unit".capitalize(), [table] if rows else [], drawn)
    return Section(f"{prefix}predictions and labels".capitalize(), figures=drawn)


def _curve_scores(system: System) -> list[str]:
    mains = [MAIN_SCORES[part.name] for part in system.parts]
    return ["loss", *mains, *(["mean_score"] if len(mains) > 1 else [])]
