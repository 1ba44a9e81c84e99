"""Compares the results printed in a paper with scores recomputed from its tables and with reproduced runs.

The printed numbers are stored in ``conf/paper/<name>.yaml``; ``conf/paper/ised.yaml`` documents the format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fervid.errors import InputError
from fervid.metrics.scores import scores
from fervid.report.systems import find_systems
from fervid.runs.run import Run
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.results import CLASSIFICATION
from fervid.schema.same_system import REPLICATE_SETTINGS, is_neutral, is_place
from fervid.schema.tables import Table

PERCENT, NUMBER = "{:.2f}", "{:,.0f}"
# Measures that a table may print: label, number format, and location in results.json.
MEASURES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "train_frames": ("training frames", NUMBER, ()),
    "val_frames": ("validation frames", NUMBER, ()),
    "test_frames": ("test frames", NUMBER, ()),
    "parameters": ("parameters", NUMBER, ("parameters", "total")),
    "train_loss": ("training loss", "{:.4f}", ("metrics", "train/loss")),
    "train_accuracy": ("training accuracy, %", PERCENT, ("metrics", "train/accuracy")),
    "val_loss": ("validation loss", "{:.4f}", ("metrics", "val/loss")),
    "val_accuracy": ("validation accuracy, %", PERCENT, ("metrics", "val/accuracy")),
    "loss": ("loss", "{:.4f}", ("metrics", "test/loss")),
    "accuracy": ("accuracy, %", PERCENT, ("metrics", "test/accuracy")),
    "uar": ("UAR, %", PERCENT, ("metrics", "test/uar")),
    "f1": ("macro F1, %", PERCENT, ("metrics", "test/f1")),
    "seconds": ("training, s", NUMBER, ("seconds", "fit")),
    "epoch_seconds_cpu": ("epoch on a CPU, s", "{:.1f}", ()),
    "epoch_seconds_gpu": ("epoch on a GPU, s", "{:.1f}", ()),
}
STATIC_MEASURES = {"train_frames", "val_frames", "test_frames", "parameters"}  # do not depend on training
# Overrides that notes omit: they select a replicate, or the table shows them already.
UNLISTED_OVERRIDES = {*REPLICATE_SETTINGS, "experiment", "sweep", "split"}


class _Printed(yaml.SafeLoader):
    """Reads numbers with a decimal point as Decimal, which keeps the number of printed digits."""


_Printed.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(node.value))


def load_paper(name: str) -> dict[str, Any]:
    """Reads the printed results of a paper.

    Args:
        name: name of a file in ``conf/paper``, without the ending.

    Returns:
        The content of the file; numbers with a decimal point are :class:`decimal.Decimal`, so that 7.00 has two printed
        digits.

    Raises:
        InputError: if the paper is unknown.
    """
    files = {path.stem: path for path in sorted(Path(CONFIG_FOLDER, "paper").glob("*.yaml"))}
    if name not in files:
        raise InputError(f"paper={name} is unknown: choose {', '.join(files)}.")
    return yaml.load(files[name].read_text(encoding="utf-8"), Loader=_Printed)


def recompute(row: Mapping[str, Any], test_counts: Mapping[str, int]) -> dict[str, float]:
    """Computes overall scores from the scores that a paper prints for each emotion.

    Args:
        row: row of a printed table with ``recall`` and optionally ``precision``, as {emotion: percent}.
        test_counts: printed number of test frames of each emotion; empty if the paper does not give it.

    Returns:
        Scores in percent: ``uar``, the unweighted mean of the recalls; ``accuracy``, their mean weighted by
        ``test_counts``, if given; ``f1``, the mean F1 score of the emotions, if precisions are printed.
    """
    recall = {emotion: float(value) for emotion, value in row["recall"].items()}
    recomputed = {}
    if test_counts:
        frames = sum(test_counts[emotion] for emotion in recall)
        recomputed["accuracy"] = sum(value * test_counts[emotion] for emotion, value in recall.items()) / frames
    recomputed["uar"] = sum(recall.values()) / len(recall)
    if "precision" in row:
        pairs = [(float(row["precision"][emotion]), value) for emotion, value in recall.items()]
        recomputed["f1"] = sum(
            2 * precision * value / max(precision + value, 1e-9) for precision, value in pairs
        ) / len(pairs)
    return recomputed


def paper_tables(paper: Mapping[str, Any], runs: Sequence[Run]) -> list[Table]:
    """Returns every table of a paper with printed, recomputed and reproduced numbers.

    A run belongs to a row if it uses a preset of the paper and its settings match ``run`` of the row. A ``benchmark``
    row has no preset: every run on the paper's corpus with matching settings belongs to it. Of runs with the same
    settings and seed, only the last is used.

    Args:
        paper: content of a paper file, from :func:`load_paper`.
        runs: finished runs; runs that do not belong to the paper are ignored.

    Returns:
        Tables with one row per system and measure, and a column ``reproduced`` for each split of the runs. It holds
        the mean over the runs, with standard deviation and number of runs if there are several. Cells are text.
    """
    duplicates = {run.folder for run in find_systems(runs)[2]} if runs else set()
    runs = [run for run in runs if run.folder not in duplicates]
    tables = [_table(paper, table, runs) for table in paper["tables"]]
    if not any(str(name).startswith("reproduced") for table in tables for name in table.data):
        presets = ", ".join(paper["experiments"])
        tables[0] = replace(
            tables[0], notes=[*tables[0].notes, f"No run reproduces this paper. Its presets are {presets}."]
        )
    return tables


def _table(paper: Mapping[str, Any], table: Mapping[str, Any], runs: Sequence[Run]) -> Table:
    found = {row["name"]: [run for run in runs if _belongs_to(run, row, paper)] for row in table["rows"]}
    headings = sorted(
        {(run.level is not LeakageLevel.LEAKY, _heading(run)) for matching in found.values() for run in matching}
    )
    columns = [heading for _, heading in headings]
    lines = []
    for row in table["rows"]:
        recomputed, printed = _recomputed(paper, row), _printed(row)
        for measure in dict.fromkeys([*printed, *(recomputed if "recall" in row else ())]):
            value = printed.get(measure)
            label, form = _label(measure)
            line = {"": row["name"], "measure": label, "printed": None if value is None else f"{value:,}"}
            line["recomputed"] = form.format(recomputed[measure]) if measure in recomputed else None
            for heading in columns:
                here = [run for run in found[row["name"]] if _heading(run) == heading]
                line[heading] = _mean([_measured(run, row, measure) for run in here], form)
            lines.append(line)
    data = pd.DataFrame(lines, columns=["", "measure", "printed", "recomputed", *columns])
    if data["recomputed"].isna().all():
        data = data.drop(columns="recomputed")
    name = f"{paper['name']}_{table['name']}".lower().replace(" ", "_").replace("-", "_")
    return Table(name, f"{table['name']}: {table['title']}", data, notes=_notes(table, found, data))


def _belongs_to(run: Run, row: Mapping[str, Any], paper: Mapping[str, Any]) -> bool:
    if run.task != CLASSIFICATION:
        return False
    ours = run.results["data"]["corpus"] if row.get("benchmark") else run.setting("paper.name")
    return ours == paper["name"] and all(run.setting(name) == value for name, value in row["run"].items())


def _heading(run: Run) -> str:
    return f"reproduced ({run.setting('split')}, {run.level})"


def _printed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The printed numbers of a row by measure; measures of one emotion are called ``recall disgust``."""
    by_emotion = {
        f"{kind} {emotion}": value for kind in ("precision", "recall") for emotion, value in row.get(kind, {}).items()
    }
    return {**by_emotion, **row.get("printed", {})}


def _recomputed(paper: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float]:
    """Scores of the system of a row, recomputed from its printed scores by emotion."""
    rows = [other for table in paper["tables"] for other in table["rows"] if "recall" in other]
    source = next((other for other in [row, *rows] if "recall" in other and other["run"] == row["run"]), None)
    return recompute(source, paper.get("test_counts", {})) if source else {}


def _label(measure: str) -> tuple[str, str]:
    if " " in measure:
        kind, emotion = measure.split(" ")
        return f"{kind} of {emotion}", PERCENT
    return MEASURES[measure][:2]


def _measured(run: Run, row: Mapping[str, Any], measure: str) -> float | None:
    """A measure of a run in the unit of the table; None if the run does not have it."""
    results, names = run.results, run.class_names
    kind, _, emotion = measure.partition(" ")
    if emotion:
        if emotion not in names:
            return None
        by_emotion = scores(np.array(results["confusion"]))
        value = (by_emotion.recall if kind == "recall" else by_emotion.precision)[names.index(emotion)]
        return 100 * float(value) if np.isfinite(value) else None
    if measure.endswith("_frames"):
        return results["data"]["emotion_by_split"].get(row["emotion"], {}).get(measure.removesuffix("_frames"))
    if measure.startswith("epoch_seconds"):
        seconds = [epoch["seconds"] for epoch in results.get("history", [])]
        device = "cpu" if results.get("device") == "cpu" else "gpu"
        return float(np.mean(seconds)) if seconds and measure.endswith(device) else None
    label, _, (part, name) = MEASURES[measure]
    value = results.get(part, {}).get(name)
    return value * 100 if value is not None and label.endswith("%") else value


def _mean(values: Sequence[float | None], form: str) -> str | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = form.format(np.mean(known))
    if len(known) == 1 or (form == NUMBER and len(set(known)) == 1):
        return mean
    return f"{mean} ± {form.format(np.std(known, ddof=1))} ({len(known)})"


def _notes(table: Mapping[str, Any], found: Mapping[str, Sequence[Run]], data: pd.DataFrame) -> list[str]:
    """Notes on settings that differ from the preset, such as a shortened training."""
    notes = []
    if any("±" in str(cell) for cell in data.to_numpy().flat):
        notes.append("Mean ± standard deviation (number of runs).")
    variants: dict[tuple[str, str], dict[str, int]] = {}
    for row in table["rows"]:
        for run in found[row["name"]]:
            systems = variants.setdefault((_heading(run), _overrides(run, row)), {})
            systems[row["name"]] = systems.get(row["name"], 0) + 1
    for (heading, differences), systems in sorted(variants.items()):
        if differences:
            totals = {name: sum(_heading(run) == heading for run in found[name]) for name in systems}
            described = [
                name if count == totals[name] else f"{name} ({count} of {totals[name]})"
                for name, count in systems.items()
            ]
            notes.append(f"{heading} with {differences}: {'; '.join(described)}.")
    return notes


def _overrides(run: Run, row: Mapping[str, Any]) -> str:
    """Settings of a run that differ from the row and the preset, without paths."""
    words = ["rendered subjects"] if run.results["data"].get("rendered") else []
    for override in run.results.get("overrides", []) if set(_printed(row)) - STATIC_MEASURES else []:
        name, _, value = override.lstrip("+~").partition("=")
        if name not in {*UNLISTED_OVERRIDES, *row["run"]} and not (
            is_neutral(name) or is_place(name) or name.startswith("hydra")
        ):
            words.append(f"{name}={Path(value).name}" if "/" in value else override)
    return ", ".join(words)
