"""Every score of every run, for other programs."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from fervid.metrics.aggregation import confusion, level_predictions
from fervid.metrics.scores import scores
from fervid.report.systems import System
from fervid.runs.run import Run
from fervid.schema.columns import grouping_columns, keys
from fervid.schema.results import CLASSIFICATION


def tidy(systems: Sequence[System]) -> pd.DataFrame:
    """Every score of every run that classifies, one a row, for other programs.

    Returns:
        Columns ``run, system, <settings>, seed, fold, leakage, level, by, value, frames, metric, score``; ``level`` is
        frames or clips by one of :data:`fervid.metrics.aggregation.RULES`, ``by`` is all, emotion, subject or a column
        of the manifest.
    """
    return pd.DataFrame(
        [
            row
            for system in systems
            if system.task == CLASSIFICATION
            for run in system.runs
            for row in _tidy_run(system, run)
        ]
    )


def _tidy_run(system: System, run: Run) -> Iterator[dict[str, Any]]:
    who = {"run": str(run.folder), "system": system.name, **system.settings}
    who |= {"seed": run.setting("seed"), "fold": run.setting("split.fold"), "leakage": str(run.level)}
    for level, table in level_predictions(run.predictions, run.class_names).items():
        parts = [("all", "", table)]
        for column in ["subject", *grouping_columns(table)]:
            if column in table:
                groups = keys(table, column) if column == "subject" else table[column]
                parts += [(column, str(value), part) for value, part in table.groupby(groups)]
        for by, value, part in parts:
            where = {**who, "level": level, "by": by, "value": value, "frames": len(part)}
            yield from (
                {**where, "metric": name, "score": score}
                for name, score in scores(confusion(part, run.class_names)).means().items()
            )
        counts = confusion(table, run.class_names)
        reached = scores(counts)
        for position, name in enumerate(run.class_names):
            where = {**who, "level": level, "by": "emotion", "value": name, "frames": int(counts[position].sum())}
            for metric, values in (("recall", reached.recall), ("precision", reached.precision)):
                yield {**where, "metric": metric, "score": values[position]}
