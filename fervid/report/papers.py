"""What the papers print, what their own rows make of it, and what runs reach: side by side.

The printed numbers lie in ``conf/paper/<name>.yaml``, whose head says how such a file is read.
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
from fervid.schema.same_system import REPEATS, is_neutral, is_place
from fervid.schema.tables import Table

PERCENT, NUMBER = "{:.2f}", "{:,.0f}"
# What a table may print: how it is called, how a run's is written, and where it lies in results.json.
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
    "epoch_seconds_cpu": ("an epoch on a CPU, s", "{:.1f}", ()),
    "epoch_seconds_gpu": ("an epoch on a GPU, s", "{:.1f}", ()),
}
# Overrides that say where something lies, which repeat it is, or what the table says anyway.
FACTS = {"train_frames", "val_frames", "test_frames", "parameters"}  # the same in runs that differ in training
UNTOLD = {*REPEATS, "experiment", "sweep", "split"}


class _Printed(yaml.SafeLoader):
    """Reads numbers with a point as decimals, which remember how many digits were printed."""


_Printed.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(node.value))


def load_paper(name: str) -> dict[str, Any]:
    """Reads the printed numbers of a paper.

    Args:
        name: of a file in ``conf/paper``.

    Returns:
        Its content; numbers with a point are :class:`decimal.Decimal`, so that 7.00 has two printed digits.

    Raises:
        InputError: if there is no such paper.
    """
    files = {path.stem: path for path in sorted(Path(CONFIG_FOLDER, "paper").glob("*.yaml"))}
    if name not in files:
        raise InputError(f"paper={name} is unknown: choose {', '.join(files)}.")
    return yaml.load(files[name].read_text(encoding="utf-8"), Loader=_Printed)


def recompute(row: Mapping[str, Any], test_counts: Mapping[str, int]) -> dict[str, float]:
    """What the numbers printed by emotion say of all frames.

    Args:
        row: of a printed table, with ``recall`` and perhaps ``precision`` {emotion: percent}.
        test_counts: printed test frames of each emotion; empty if the paper does not say.

    Returns:
        In percent ``uar``, the plain mean of the recalls; ``accuracy``, their mean weighted by the counts, if there
        are any; ``f1``, the mean F1 score of the emotions, if precisions are printed.
    """
    recall = {emotion: float(value) for emotion, value in row["recall"].items()}
    made = {}
    if test_counts:
        frames = sum(test_counts[emotion] for emotion in recall)
        made["accuracy"] = sum(value * test_counts[emotion] for emotion, value in recall.items()) / frames
    made["uar"] = sum(recall.values()) / len(recall)
    if "precision" in row:
        pairs = [(float(row["precision"][emotion]), value) for emotion, value in recall.items()]
        made["f1"] = sum(2 * precision * value / max(precision + value, 1e-9) for precision, value in pairs) / len(
            pairs
        )
    return made


def paper_tables(paper: Mapping[str, Any], runs: Sequence[Run]) -> list[Table]:
    """Every table of a paper: printed, recomputed from its rows by emotion, reproduced by runs.

    Runs belong to a row if they follow the paper's preset and were told what the row's ``run`` says; those of a
    ``benchmark`` row, which follows no preset, if they are on the paper's corpus. Of runs that repeat each other to
    the seed the last counts.

    Args:
        paper: of :func:`load_paper`.
        runs: finished ones, of this paper or not.

    Returns:
        One row a system and measure, with a column ``reproduced`` for each split of the runs, in which stands the
        mean over its runs, with standard deviation and number if there are several. Cells are text.
    """
    doubles = {run.folder for run in find_systems(runs)[2]} if runs else set()
    runs = [run for run in runs if run.folder not in doubles]
    tables = [_table(paper, table, runs) for table in paper["tables"]]
    if not any(str(name).startswith("reproduced") for table in tables for name in table.data):
        presets = ", ".join(paper["experiments"])
        tables[0] = replace(tables[0], notes=[*tables[0].notes, f"No run follows this paper; presets: {presets}."])
    return tables


def _table(paper: Mapping[str, Any], table: Mapping[str, Any], runs: Sequence[Run]) -> Table:
    found = {row["name"]: [run for run in runs if _follows(run, row, paper)] for row in table["rows"]}
    headings = sorted(
        {(run.level is not LeakageLevel.LEAKY, _heading(run)) for matching in found.values() for run in matching}
    )
    columns = [heading for _, heading in headings]
    lines = []
    for row in table["rows"]:
        made, printed = _made(paper, row), _printed(row)
        for measure in dict.fromkeys([*printed, *(made if "recall" in row else ())]):
            value = printed.get(measure)
            label, form = _label(measure)
            line = {"": row["name"], "measure": label, "printed": None if value is None else f"{value:,}"}
            line["recomputed"] = form.format(made[measure]) if measure in made else None
            for heading in columns:
                here = [run for run in found[row["name"]] if _heading(run) == heading]
                line[heading] = _mean([_reached(run, row, measure) for run in here], form)
            lines.append(line)
    data = pd.DataFrame(lines, columns=["", "measure", "printed", "recomputed", *columns])
    if data["recomputed"].isna().all():
        data = data.drop(columns="recomputed")
    name = f"{paper['name']}_{table['name']}".lower().replace(" ", "_").replace("-", "_")
    return Table(name, f"{table['name']}: {table['title']}", data, notes=_notes(table, found, data))


def _follows(run: Run, row: Mapping[str, Any], paper: Mapping[str, Any]) -> bool:
    if run.task != CLASSIFICATION:
        return False
    ours = run.results["data"]["corpus"] if row.get("benchmark") else run.setting("paper.name")
    return ours == paper["name"] and all(run.setting(name) == value for name, value in row["run"].items())


def _heading(run: Run) -> str:
    return f"reproduced ({run.setting('split')}, {run.level})"


def _printed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The printed numbers of a row by measure, those by emotion as ``recall disgust``."""
    by_emotion = {
        f"{kind} {emotion}": value for kind in ("precision", "recall") for emotion, value in row.get(kind, {}).items()
    }
    return {**by_emotion, **row.get("printed", {})}


def _made(paper: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float]:
    """What the paper's numbers by emotion make for the system of a row."""
    rows = [other for table in paper["tables"] for other in table["rows"] if "recall" in other]
    source = next((other for other in [row, *rows] if "recall" in other and other["run"] == row["run"]), None)
    return recompute(source, paper.get("test_counts", {})) if source else {}


def _label(measure: str) -> tuple[str, str]:
    if " " in measure:
        kind, emotion = measure.split(" ")
        return f"{kind} of {emotion}", PERCENT
    return MEASURES[measure][:2]


def _reached(run: Run, row: Mapping[str, Any], measure: str) -> float | None:
    """A measure of a run, in the table's unit; None where the run does not know it."""
    results, names = run.results, run.class_names
    kind, _, emotion = measure.partition(" ")
    if emotion:
        if emotion not in names:
            return None
        reached = scores(np.array(results["confusion"]))
        value = (reached.recall if kind == "recall" else reached.precision)[names.index(emotion)]
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
    """How the runs were told to differ from their preset, so that a short run is seen to be one."""
    notes = []
    if any("±" in str(cell) for cell in data.to_numpy().flat):
        notes.append("Mean ± standard deviation (number of runs).")
    told: dict[tuple[str, str], dict[str, int]] = {}
    for row in table["rows"]:
        for run in found[row["name"]]:
            systems = told.setdefault((_heading(run), _told(run, row)), {})
            systems[row["name"]] = systems.get(row["name"], 0) + 1
    for (heading, words), systems in sorted(told.items()):
        if words:
            of = {name: sum(_heading(run) == heading for run in found[name]) for name in systems}
            who = [name if count == of[name] else f"{name} ({count} of {of[name]})" for name, count in systems.items()]
            notes.append(f"{heading} with {words}: {'; '.join(who)}.")
    return notes


def _told(run: Run, row: Mapping[str, Any]) -> str:
    """What a run was told besides what the row says, without paths."""
    words = ["rendered people"] if run.results["data"].get("rendered") else []
    for override in run.results.get("overrides", []) if set(_printed(row)) - FACTS else []:
        name, _, value = override.lstrip("+~").partition("=")
        if name not in {*UNTOLD, *row["run"]} and not (is_neutral(name) or is_place(name) or name.startswith("hydra")):
            words.append(f"{name}={Path(value).name}" if "/" in value else override)
    return ", ".join(words)
