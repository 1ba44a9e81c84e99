"""A report, top to bottom."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from fervid.errors import InputError
from fervid.report.classification import classification_sections
from fervid.report.papers import load_paper, paper_tables
from fervid.report.run_tables import run_table
from fervid.report.systems import find_systems
from fervid.report.tidy import tidy
from fervid.report.writing import Section, print_report, write_report
from fervid.runs.run import Run, find_runs
from fervid.schema.results import CLASSIFICATION
from fervid.storage.atomic import write_csv
from fervid.storage.escaping import spreadsheet

SECTIONS = {CLASSIFICATION: classification_sections}  # by the name of the task in the results record


def make_report(
    folder: Path,
    console: Console,
    *,
    runs: str | Sequence[str] | None,
    paper: str | None,
    title: str,
    resamples: int,
    seed: int,
) -> None:
    """Collects runs, compares what compares, writes the report and prints its main tables.

    Args:
        folder: where to.
        console: where the main tables are printed.
        runs: run folders or globs; None: the paper alone.
        paper: whose printed tables are laid beside; None: those that the runs follow.
        title: of the report.
        resamples: bootstrap samples for each interval.
        seed: of the resamples.

    Raises:
        InputError: if there are no runs, or the paper is unknown.
    """
    check_resamples(resamples)
    found, unusable = find_runs(runs) if runs is not None else ([], {})
    named = [paper] if paper else sorted({run.setting("paper.name") for run in found} - {None})
    papers = [load_paper(name) for name in named]
    sections = compare(found, unusable, resamples=resamples, seed=seed) if found else []
    for data in papers:
        sections.append(
            Section(
                f"Paper: {data['name']}",
                paper_tables(data, found),
                sentences=[data["citation"], *data["remarks"]],
                terminal=paper is not None,
            )
        )
    summary = [f"{len(found)} run{'s'[: len(found) != 1]}."] if found else []
    if any(run.results["data"].get("rendered") for run in found):
        summary.append(
            "Rendered people are among the corpora: such scores show that the protocol runs, not what it reaches."
        )
    write_report(folder, title, summary, sections)
    scores = tidy(find_systems(found)[0]) if found else pd.DataFrame()
    if len(scores):
        write_csv(folder / "scores.csv", spreadsheet(scores))
    print_report(console, sections)
    files = ["report.html", "report.md", *(["scores.csv"] if len(scores) else []), "tables/", "figures/"]
    console.print(
        f"everything lies in {folder}: {', '.join(files)}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def check_resamples(resamples: int) -> None:
    """Refuses numbers of bootstrap samples that give no interval, or no end."""
    if resamples < 100:
        raise InputError(f"resamples={resamples} are too few for an interval of 95 %: give at least 100.")
    if resamples > 100_000:
        raise InputError(f"resamples={resamples} would fill the memory: give at most 100000.")


def compare(runs: Sequence[Run], unusable: dict[Path, str], *, resamples: int, seed: int) -> list[Section]:
    """The sections on the runs themselves.

    Args:
        runs: finished ones.
        unusable: folders left out, each with its reason.
        resamples: bootstrap samples for each interval.
        seed: of the resamples.
    """
    systems, along, doubles = find_systems(runs)
    sentences = [f"Also different between these systems: {', '.join(along)}."] if along else []
    doubts = {
        f"Doubts about the subjects of {run.setting('dataset')}: {doubt}": None
        for run in runs
        for doubt in run.results["leakage"].get("doubts", [])
    }
    sentences += list(doubts)
    sections: list[Section] = []
    for task in dict.fromkeys(system.task for system in systems):
        alike = [system for system in systems if system.task == task]
        if task in SECTIONS:
            sections += SECTIONS[task](alike, sentences, resamples=resamples, seed=seed)
        else:
            told = f"fervid reports nothing on the task {task}: its systems are listed among the runs alone."
            sections.append(Section(f"Task: {task}", sentences=[told], terminal=True))
    sections.append(Section("Runs", [run_table(systems, doubles, unusable)]))
    return [section for section in sections if section.tables or section.figures or section.sentences]
