"""What the papers print, what their own rows make of it, and what runs reach: side by side.

The printed numbers lie in ``conf/paper/<name>.yaml``, whose head says how such a file is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fervid.report.systems import ASIDE, REPEATS, find_systems
from fervid.runs.run import Run
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.errors import InputError
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
UNTOLD = {*REPEATS, *ASIDE, "experiment", "paper", "sweep", "split", "logger"}


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
    headings = sorted({(run.grade != "leaky", _heading(run)) for matching in found.values() for run in matching})
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
    ours = run.results["data"]["corpus"] if row.get("benchmark") else run.setting("paper.name")
    return ours == paper["name"] and all(run.setting(name) == value for name, value in row["run"].items())


def _heading(run: Run) -> str:
    return f"reproduced ({run.setting('split')}, {run.grade})"


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
        confusion, position = np.array(results["confusion"]), names.index(emotion)
        of = confusion[position] if kind == "recall" else confusion[:, position]
        return 100 * float(confusion[position, position] / of.sum()) if of.any() else None
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
        if name not in {*UNTOLD, *row["run"]} and not name.startswith("hydra"):
            words.append(f"{name}={Path(value).name}" if "/" in value else override)
    return ", ".join(words)


@dataclass(frozen=True)
class _Claim:
    """An accuracy printed for a system, and what its printed recalls make.

    Attributes:
        name: of the system, in the table by emotion.
        network: its ``backbone``.
        tables: that print the accuracy.
        row: with the recalls.
        source: the table that prints them.
        printed: the accuracy, percent.
        made: from the recalls, percent.
        slack: by how much rounding lets them differ, percentage points.
    """

    name: str
    network: str
    tables: tuple[str, ...]
    row: Mapping[str, Any]
    source: str
    printed: Any
    made: float
    slack: float

    @property
    def fails(self) -> bool:
        return abs(float(self.printed) - self.made) > self.slack


def inconsistencies(paper: Mapping[str, Any]) -> list[str]:
    """What does not fit together in a paper.

    Args:
        paper: of :func:`load_paper`.

    Returns:
        One sentence each: first those found by arithmetic on its numbers, then the paper's ``remarks``.
    """
    claims = _claims(paper)
    counts = paper.get("test_counts", {})
    failing = [claim for claim in claims if claim.fails]
    sentences, explained = _one_emotion(failing, [table["name"] for table in paper["tables"]])
    swapped, more = _swapped([claim for claim in failing if claim.name not in explained], counts)
    sentences += swapped
    for claim in failing:
        if claim.name not in explained | more:
            change = _change(claim, counts, float(claim.printed))
            sentences.append(
                f"The accuracy printed for {claim.name} ({_tables(claim.tables)}) is {claim.printed}; its recalls "
                f"({claim.source}) make {claim.made:.2f}, and rounding explains a difference of {claim.slack:.2f} at "
                f"most.{change and f' They make {change}.'}"
            )
    return [*sentences, *_impossible(paper), *_best(claims), *paper.get("remarks", [])]


def _claims(paper: Mapping[str, Any]) -> list[_Claim]:
    counts = paper.get("test_counts", {})
    rows = [(table["name"], row) for table in paper["tables"] for row in table["rows"]]
    claims: list[_Claim] = []
    seen: list[Any] = []
    for source, row in rows:
        same = [
            (name, other["printed"]["accuracy"])
            for name, other in rows
            if other["run"] == row["run"] and "accuracy" in other.get("printed", {}) and not other.get("benchmark")
        ]
        if "recall" not in row or row["run"] in seen or not same or not counts:
            continue
        seen.append(row["run"])
        # What a recall may be off by moves the accuracy by its emotion's share of the frames.
        shares = {emotion: counts[emotion] / sum(counts[name] for name in row["recall"]) for emotion in row["recall"]}
        printed = same[0][1]
        slack = _half_digit(printed) + sum(share * _half_digit(row["recall"][name]) for name, share in shares.items())
        tables = tuple(dict.fromkeys(name for name, _ in same))
        made = recompute(row, counts)["accuracy"]
        network = str(row["run"].get("backbone"))
        claims.append(_Claim(row["name"], network, tables, row, source, printed, made, slack + 1e-9))
    return claims


def _half_digit(printed: Any) -> float:
    """By how much a number may be off that was rounded to its printed digits."""
    return 0.5 * 10.0 ** int(Decimal(str(printed)).as_tuple().exponent)


def _one_emotion(failing: Sequence[_Claim], order: Sequence[str]) -> tuple[list[str], set[str]]:
    """Accuracies that are the recall of one emotion; tables are named in this order."""
    emotions = list(dict.fromkeys(emotion for claim in failing for emotion in claim.row["recall"]))
    sentences: list[str] = []
    explained: set[str] = set()
    while True:
        left = [claim for claim in failing if claim.name not in explained]
        hits = {name: [claim for claim in left if claim.row["recall"][name] == claim.printed] for name in emotions}
        emotion = max(hits, key=lambda name: len(hits[name]), default="")
        if not emotion or not hits[emotion]:
            return sentences, explained
        which = hits[emotion]
        printed = _tables(sorted({table for claim in which for table in claim.tables}, key=order.index))
        sources = _tables(sorted({claim.source for claim in which}, key=order.index))
        systems = ", ".join(f"{claim.name} {claim.printed} ({claim.made:.2f})" for claim in which)
        sentences.append(
            f"These accuracies, printed in {printed}, are the recall of {emotion} alone in {sources}; in brackets what "
            f"the recalls of all emotions make, weighted by the test frames: {systems}."
        )
        explained |= {claim.name for claim in which}


def _swapped(failing: Sequence[_Claim], counts: Mapping[str, int]) -> tuple[list[str], set[str]]:
    """Pairs of rows whose recalls make each other's accuracy, one of them perhaps only once a recall is changed."""
    sentences: list[str] = []
    explained: set[str] = set()
    for one, other in permutations(failing, 2):
        if {one.name, other.name} & explained or abs(one.made - float(other.printed)) > one.slack:
            continue
        change = ""
        if abs(other.made - float(one.printed)) > other.slack:
            change = _change(other, counts, float(one.printed))
            if not change:
                continue
        sentences.append(
            f"Two rows seem swapped between {_tables(one.tables)} and {one.source}: the recalls of {one.name} make "
            f"{one.made:.2f}, which is printed for {other.name}; those of {other.name} make "
            + (f"{other.made:.2f}, but " if change else "")
            + f"{change or f'{other.made:.2f}'}; {one.printed} is printed for {one.name}."
        )
        explained |= {one.name, other.name}
    return sentences, explained


def _change(claim: _Claim, counts: Mapping[str, int], target: float) -> str:
    """The one recall with whose change a row makes an accuracy; empty if there is none, or more than one."""
    frames = sum(counts[emotion] for emotion in claim.row["recall"])
    changes = []
    for emotion, recall in claim.row["recall"].items():
        right = round((float(recall) + (target - claim.made) * frames / counts[emotion]) * counts[emotion] / 100)
        value = 100 * right / counts[emotion]
        made = claim.made + (value - float(recall)) * counts[emotion] / frames
        if 0 <= right <= counts[emotion] and abs(made - target) <= claim.slack:
            changes.append(f"{made:.2f} if {emotion} reads {value:.2f} instead of {recall}")
    return f"{changes[0]}, and by no other change of one recall" if len(changes) == 1 else ""


def _impossible(paper: Mapping[str, Any]) -> list[str]:
    """Accuracies that no whole number of right frames makes."""
    frames = paper.get("test_frames") or sum(paper.get("test_counts", {}).values())
    rows = [row for table in paper["tables"] for row in table["rows"] if not row.get("benchmark")]
    printed = sorted({row["printed"]["accuracy"] for row in rows if "accuracy" in row.get("printed", {})})
    wrong = [
        str(value)
        for value in printed
        if frames and abs(100 * round(float(value) * frames / 100) / frames - float(value)) > _half_digit(value) + 1e-9
    ]
    if not wrong:
        return []
    return [f"No whole number of right frames makes an accuracy of {_join(wrong, 'or')} on {frames} test frames."]


def _best(claims: Sequence[_Claim]) -> list[str]:
    """Where the recalls put another system first than the printed accuracies do."""
    sentences = []
    networks = dict.fromkeys(claim.network for claim in claims)
    for network in ["", *networks] if len(networks) > 1 else networks:
        these = [claim for claim in claims if network in ("", claim.network)]
        told, true = max(these, key=lambda claim: claim.printed), max(these, key=lambda claim: claim.made)
        if told is not true:
            sentences.append(
                f"Of {f'the systems with backbone={network}' if network else 'all systems'} the printed accuracies "
                f"put {told.name} first ({told.printed}; {true.name} {true.printed}), the recalls {true.name} "
                f"({true.made:.2f}; {told.name} {told.made:.2f})."
            )
    return sentences


def _join(words: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def _tables(names: Sequence[str]) -> str:
    """Tables IV, V and VI."""
    plural = len(names) > 1 and all(name.startswith("Table ") for name in names)
    return f"Tables {_join([name.removeprefix('Table ') for name in names])}" if plural else _join(names)
