"""Every score of every run as a tidy table."""

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
    """Returns every score of every classification run, one per row.

    Returns:
        Columns ``run, system, <settings>, seed, fold, leakage, level, by, value, frames, metric, score``; ``level`` is
        ``frames``, or ``clips`` with one of :data:`fervid.metrics.aggregation.RULES`. ``by`` is ``all``, ``emotion``,
        ``subject`` or a column of the manifest.
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
    run_columns = {"run": str(run.folder), "system": system.name, **system.settings}
    run_columns |= {"seed": run.setting("seed"), "fold": run.setting("split.fold"), "leakage": str(run.level)}
    for level, table in level_predictions(run.predictions, run.class_names).items():
        parts = [("all", "", table)]
        for column in ["subject", *grouping_columns(table)]:
            if column in table:
                groups = keys(table, column) if column == "subject" else table[column]
                parts += [(column, str(value), part) for value, part in table.groupby(groups)]
        for by, value, part in parts:
            row = {**run_columns, "level": level, "by": by, "value": value, "frames": len(part)}
            yield from (
                {**row, "metric": name, "score": score}
                for name, score in scores(confusion(part, run.class_names)).means().items()
            )
        counts = confusion(table, run.class_names)
        by_emotion = scores(counts)
        for position, name in enumerate(run.class_names):
            row = {**run_columns, "level": level, "by": "emotion", "value": name, "frames": int(counts[position].sum())}
            for metric, values in (("recall", by_emotion.recall), ("precision", by_emotion.precision)):
                yield {**row, "metric": metric, "score": values[position]}
