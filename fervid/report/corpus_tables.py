"""Tables of training and test corpora, and of the labels of several corpora."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fervid.metrics.aggregation import confusion
from fervid.metrics.scores import scores
from fervid.metrics.statistics import (
    bootstrap_intervals,
    bootstrap_scores,
    bootstrap_unit,
    percentile_interval,
    run_confusions,
)
from fervid.report.systems import System, describe_settings, sample_noun
from fervid.runs.run import Run
from fervid.schema.columns import corpora
from fervid.schema.tables import Table

ALL_OTHERS = "all other corpora"
BY_CORPUS = ("dataset", "dataset.root", "dataset.corpora", "split.corpus", "split.train")  # that select corpora


@dataclass
class Cell:
    """The test frames of one corpus, predicted by the runs of a row of the table.

    Attributes:
        frames: predictions of all runs.
        class_names: the emotions of the runs.
    """

    frames: pd.DataFrame
    class_names: list[str]


def train_test_table(systems: Sequence[System], *, resamples: int, seed: int) -> Table | None:
    """Returns the UAR by training and test corpora; None if there is only one corpus.

    Args:
        systems: the systems.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    cells = _cells(systems)
    trained = sorted({key[0] for key in cells}, key=lambda name: (name == ALL_OTHERS, name.count("+"), name))
    tested = sorted({key[2] for key in cells})
    if len(tested) < 2 and len(trained) < 2:
        return None
    rows: list[dict[str, Any]] = []
    for other in dict.fromkeys(key[1] for key in cells):
        for name in trained:
            found = {corpus: cells[name, other, corpus] for corpus in tested if (name, other, corpus) in cells}
            classes = list(dict.fromkeys(tuple(cell.class_names) for cell in found.values()))
            if not found:
                continue
            row = {"trained on": name, "system": other, "emotions": ", ".join(str(len(each)) for each in classes)}
            row |= {f"on {corpus}": _with_interval(cell, resamples, seed) for corpus, cell in found.items()}
            if len(found) > 1 and len(classes) == 1:
                pooled = pd.concat([cell.frames for cell in found.values()], ignore_index=True)
                row["pooled"] = _with_interval(Cell(pooled, list(classes[0])), resamples, seed)
            rows.append(row)
    data = pd.DataFrame(rows).reindex(
        columns=["trained on", "system", "emotions", *(f"on {name}" for name in tested), "pooled"]
    )
    if data["system"].nunique() < 2:
        data = data.drop(columns="system")
    data = data.dropna(axis=1, how="all")
    notes = [
        f"UAR of the test {sample_noun(systems)} of each corpus, and its 95% interval over subjects, or over clips if "
        "subjects are unknown; replicates are pooled.",
        "Rows compare only if they have the same emotions. The paired tests compare systems on the same test rows.",
    ]
    if ALL_OTHERS in trained:
        notes.append(f"{ALL_OTHERS.capitalize()}: trained on all corpora except the one in the column.")
    return Table("train_test_corpora", "UAR by training and test corpora", data, notes=notes)


def corpus_differences(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table | None:
    """Returns the paired differences of comparable systems on each of several test corpora; None if there is only one.

    Args:
        systems: systems tested on the same rows.
        number: number of the set of systems.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    tested = corpora(systems[0].frames)
    if len(systems) < 2 or len(tested) < 2:
        return None
    rows = []
    for corpus in tested:
        clips = [system.clips_by_run for system in systems]
        tables: list[pd.DataFrame] = [table[table["corpus"] == corpus] for table in clips]
        unit = bootstrap_unit(tables[0])
        counts = [run_confusions(table, systems[0].class_names, unit) for table in tables]
        drawn = [bootstrap_scores(each, resamples=resamples, seed=seed)["uar"] for each in counts]
        means = [float(np.nanmean(scores(each.sum(axis=1)).uar)) for each in counts]
        for one, other in combinations(range(len(systems)), 2):
            low, high = percentile_interval(drawn[one] - drawn[other])
            rows.append(
                {
                    "corpus": corpus,
                    "A": systems[one].name,
                    "B": systems[other].name,
                    "clips": len(tables[one]) // len(systems[one].runs),
                    "UAR clips, A - B": f"{100 * (means[one] - means[other]):+.1f} points"
                    + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if low == low else ""),
                }
            )
    notes = [
        "In parentheses: 95% bootstrap interval; both systems use the same resamples of subjects, or of clips if "
        "subjects are unknown."
    ]
    return Table(
        f"corpus_differences_{number}", f"Set {number}: differences by test corpus", pd.DataFrame(rows), notes=notes
    )


def _cells(systems: Sequence[System]) -> dict[tuple[str, str, str], Cell]:
    """Returns the cells by training corpora, name of the system without its corpora, and test corpus."""
    parts: dict[tuple[str, str, str], list[tuple[pd.DataFrame, list[str]]]] = {}
    for system in systems:
        for run in system.runs:
            table = run.predictions
            for tested in corpora(table):
                key = (_trained_on(run, tested), _name_without_corpora(system), tested)
                parts.setdefault(key, []).append((table[table["corpus"] == tested], run.class_names))
    return {
        key: Cell(pd.concat([table for table, _ in found], ignore_index=True), found[0][1])
        for key, found in parts.items()
        if all(names == found[0][1] for _, names in found)
    }


def label_map_table(systems: Sequence[System]) -> Table | None:
    """Returns how the labels of several corpora were mapped; None without such a run."""
    rows = [
        {"system": system.name, **entry}
        for system in systems
        for entry in system.runs[0].results["data"].get("label_map") or []
    ]
    if not rows:
        return None
    data = pd.DataFrame(rows)
    columns = [name for name in ("corpus", "label", "mapped_to", "frames", "reason") if name in data]
    same = data.groupby(columns, dropna=False, sort=False)["system"].agg(list).reset_index()
    if all(len(names) == len(systems) for names in same["system"]):
        same = same.drop(columns="system")
    else:
        same["system"] = [", ".join(dict.fromkeys(names)) for names in same["system"]]
    same = same.rename(columns={"mapped_to": "mapped to", "reason": "reason for dropping"})
    return Table("label_map", "Labels of the corpora", same, notes=["Frames: of all subsets."])


def _trained_on(run: Run, tested: str) -> str:
    """Returns the corpora of the training subset, or :data:`ALL_OTHERS`."""
    counts = run.results["data"].get("corpus_by_split") or {}
    names = sorted(name for name, count in counts.items() if count["train"])
    names = names or sorted(corpus["name"] for corpus in run.corpora)
    others = sorted(name for name in counts if name != tested)
    if run.setting("split") == "leave_corpus_out" and len(others) > 1 and names == others:
        return ALL_OTHERS
    return "+".join(names)


def _name_without_corpora(system: System) -> str:
    """Returns the name of a system without the settings that select corpora."""
    kept = {
        name: value
        for name, value in system.label_settings.items()
        if name not in BY_CORPUS and not name.startswith("dataset.corpora.")
    }
    return describe_settings(kept) or "-"


def _with_interval(cell: Cell, resamples: int, seed: int) -> str:
    value = scores(confusion(cell.frames, cell.class_names)).means()["uar"]
    counts = run_confusions(cell.frames.assign(run=0), cell.class_names, bootstrap_unit(cell.frames))
    low, high = bootstrap_intervals(counts, resamples=resamples, seed=seed)["uar"]
    return f"{value:.1%}" + (f" ({100 * low:.1f} to {100 * high:.1f})" if low == low else "")
