"""Builds a report from runs and papers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from fervid.errors import InputError
from fervid.report.classification import classification_sections
from fervid.report.papers import load_paper, paper_tables
from fervid.report.parts import part_sections
from fervid.report.run_tables import run_table
from fervid.report.systems import find_systems
from fervid.report.tidy import tidy
from fervid.report.weight_table import weight_table
from fervid.report.writing import Section, print_report, write_report
from fervid.runs.run import Run, find_runs
from fervid.schema.parts import AFFECT, CLASSIFICATION, MULTI, UNITS
from fervid.schema.people import describe_people
from fervid.schema.weights import pretraining_sentences
from fervid.storage.atomic import write_csv
from fervid.storage.escaping import spreadsheet

SECTIONS = {  # by task name, as in results.json
    CLASSIFICATION: classification_sections,
    **dict.fromkeys((AFFECT, UNITS, MULTI), part_sections),
}


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
    """Compares runs, writes the report and prints its main tables.

    Args:
        folder: output folder.
        console: console for the main tables.
        runs: run folders or globs; None reports the paper only.
        paper: paper whose published results the report shows; None for the papers that the runs reproduce.
        title: title of the report.
        resamples: number of bootstrap samples for each interval.
        seed: seed of the bootstrap.

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
    summary = [f"This report covers {len(found)} run{'s'[: len(found) != 1]}."] if found else []
    if any(run.results["data"].get("rendered") for run in found):
        summary.append(
            "At least one corpus is rendered: its scores show that the protocol works, not how well emotions are "
            "recognised."
        )
    write_report(folder, title, summary, sections)
    scores = tidy(find_systems(found)[0]) if found else pd.DataFrame()
    if len(scores):
        write_csv(folder / "scores.csv", spreadsheet(scores))
    print_report(console, sections)
    files = ["report.html", "report.md", *(["scores.csv"] if len(scores) else []), "tables/", "figures/"]
    console.print(
        f"Output: {folder} ({', '.join(files)})",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def check_resamples(resamples: int) -> None:
    """Raises an InputError unless the number of bootstrap samples is between 100 and 100,000."""
    if resamples < 100:
        raise InputError(f"resamples={resamples} is too small for a 95% interval: use at least 100.")
    if resamples > 100_000:
        raise InputError(f"resamples={resamples} needs too much memory: use at most 100000.")


def compare(runs: Sequence[Run], unusable: dict[Path, str], *, resamples: int, seed: int) -> list[Section]:
    """Builds the sections that compare the runs.

    Args:
        runs: finished runs.
        unusable: skipped folders, each with the reason.
        resamples: number of bootstrap samples for each interval.
        seed: seed of the bootstrap.
    """
    systems, accompanying, duplicates = find_systems(runs)
    sentences = [f"These systems also differ in: {', '.join(accompanying)}."] if accompanying else []
    doubts = {
        f"Subject names of {run.setting('dataset')} may be unreliable: {doubt}": None
        for run in runs
        for doubt in run.results["leakage"].get("doubts", [])
    }
    sentences += list(doubts)
    seen = {
        f"{system.name}: {sentence}.": None
        for system in systems
        for run in system.runs
        for sentence in pretraining_sentences(run.results["leakage"].get("weights", {}))
    }
    sentences += list(seen)
    compared = {
        f"{system.name}: {' '.join(found)}": None
        for system in systems
        for run in system.runs
        if (found := describe_people(run.results["leakage"]))
    }
    sentences += list(compared)
    sentences += [
        f"{system.name}: adapted to the evaluated samples without their labels; each prediction depends on the others."
        for system in systems
        if any("adaptation" in run.results for run in system.runs)
    ]
    sections: list[Section] = []
    for task in dict.fromkeys(system.task for system in systems):
        same_task = [system for system in systems if system.task == task]
        if task in SECTIONS:
            of_task = SECTIONS[task](same_task, sentences, resamples=resamples, seed=seed)
            sections += of_task if len(same_task) == len(systems) else [_of_task(each, task) for each in of_task]
        else:
            sentence = (
                f"fervid has no report section for the task {task}: its systems appear only in the table of runs; give "
                "trust=<package> if your package has one."
            )
            sections.append(Section(f"Task: {task}", sentences=[sentence], terminal=True))
    weights = weight_table(systems)
    sections.append(Section("Initial weights", [weights] if weights else []))
    sections.append(Section("Runs", [run_table(systems, duplicates, unusable)]))
    return [section for section in sections if section.tables or section.figures or section.sentences]


def _of_task(section: Section, task: str) -> Section:
    """Names the task in a section of a report on several tasks, so that no other section has the same files."""
    return replace(
        section,
        title=f"Task {task}: {section.title}",
        tables=[replace(each, name=f"{task}_{each.name}", title=f"{task}: {each.title}") for each in section.tables],
        figures={f"{task}_{name}": figure for name, figure in section.figures.items()},
    )
