"""Every score of every run as a tidy table."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from fervid.metrics.aggregation import confusion, level_predictions
from fervid.metrics.parts import MEASURES, clip_means, part_scores
from fervid.metrics.scores import scores
from fervid.report.systems import System
from fervid.runs.run import Run
from fervid.schema.columns import grouping_columns, keys
from fervid.schema.parts import EMOTION


def tidy(systems: Sequence[System]) -> pd.DataFrame:
    """Returns every score of every run whose task has parts, one per row.

    Returns:
        Columns ``run, system, <settings>, seed, fold, leakage, level, by, value, frames, metric, score``; ``level`` is
        ``frames``, or ``clips`` with one of :data:`fervid.metrics.aggregation.RULES`. ``by`` is ``all``, ``emotion``,
        ``subject`` or a column of the manifest. Scores of single action units or dimensions have names such as
        ``f1_au_12`` and ``ccc_valence``.
    """
    return pd.DataFrame([row for system in systems for run in system.runs for row in _tidy_run(system, run)])


def _tidy_run(system: System, run: Run) -> Iterator[dict[str, Any]]:
    run_columns = {"run": str(run.folder), "system": system.name, **system.settings}
    run_columns |= {"seed": run.setting("seed"), "fold": run.setting("split.fold"), "leakage": str(run.level)}
    for part in run.parts:
        if part.name == EMOTION:
            yield from _of_emotions(run, list(part.names), run_columns)
            continue
        levels = {"frames": run.predictions}
        if MEASURES[part.name].has_clips and not keys(run.predictions, "clip").is_unique:
            levels["clips, mean"] = clip_means(run.predictions, part)
        for level, table in levels.items():
            for by, value, rows in _groups(table):
                row = {**run_columns, "level": level, "by": by, "value": value, "frames": len(rows)}
                yield from ({**row, "metric": name, "score": score} for name, score in part_scores(rows, part).items())


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yields all rows, and those of each subject and of each value of a grouping column."""
    yield "all", "", table
    for column in ["subject", *grouping_columns(table)]:
        if column in table:
            groups = keys(table, column) if column == "subject" else table[column]
            yield from ((column, str(value), part) for value, part in table.groupby(groups))


def _of_emotions(run: Run, class_names: list[str], run_columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for level, table in level_predictions(run.predictions, class_names).items():
        for by, value, part in _groups(table):
            row = {**run_columns, "level": level, "by": by, "value": value, "frames": len(part)}
            yield from (
                {**row, "metric": name, "score": score}
                for name, score in scores(confusion(part, class_names)).means().items()
            )
        counts = confusion(table, class_names)
        by_emotion = scores(counts)
        for position, name in enumerate(class_names):
            row = {**run_columns, "level": level, "by": "emotion", "value": name, "frames": int(counts[position].sum())}
            for metric, values in (("recall", by_emotion.recall), ("precision", by_emotion.precision)):
                yield {**row, "metric": metric, "score": values[position]}
