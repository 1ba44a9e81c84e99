"""What a report says of classification: scores, tests, emotions, subjects, calibration."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fervid import figures
from fervid.errors import InputError
from fervid.figures.heat_maps import HEAT_MAPS, MeanHeatMaps
from fervid.metrics.aggregation import confusion
from fervid.metrics.calibration import reliability
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, run_confusions
from fervid.report.calibration_tables import calibration_table, scaled_probabilities
from fervid.report.group_tables import FEWEST_OF_A_PERSON, class_table, group_table, subject_table
from fervid.report.leak_tables import leak_table
from fervid.report.paired_tests import paired_tests
from fervid.report.run_tables import refusal_table
from fervid.report.score_tables import score_table, summary_table
from fervid.report.systems import System, comparable
from fervid.report.writing import Section
from fervid.schema.columns import keys
from fervid.schema.tables import Table

MOST_FIGURES = 12  # systems that get confusion matrix, curves and reliability diagram of their own


def classification_sections(
    systems: Sequence[System], sentences: Sequence[str], *, resamples: int, seed: int
) -> list[Section]:
    """The sections on systems that classify.

    Args:
        systems: that were found.
        sentences: what the summary says of them, too.
        resamples: bootstrap samples for each interval.
        seed: of the resamples.
    """
    sets = comparable(systems)
    scored = [score_table(each, number, resamples=resamples, seed=seed) for number, each in enumerate(sets, start=1)]
    tests = [paired_tests(each, number, resamples=resamples, seed=seed) for number, each in enumerate(sets, start=1)]
    subjects = subject_table(systems)
    shown = systems[:MOST_FIGURES]
    if len(systems) > MOST_FIGURES:
        sentences = [*sentences, f"Figures of single systems show the first {MOST_FIGURES} of {len(systems)}."]
    return [
        Section("Summary", [summary_table(systems, sets)], sentences=sentences, terminal=True),
        Section("Leaks", _there(leak_table(systems)), terminal=True),
        Section("Scores", scored, {"scores": _intervals(systems, resamples, seed)}),
        Section("Paired tests", _there(*tests)),
        Section("Not compared", _there(refusal_table(sets)), terminal=True),
        Section(
            "By emotion",
            [class_table(systems)],
            {f"confusion_{number}": _confusion(system) for number, system in enumerate(shown, start=1)},
        ),
        Section("By person", _there(subjects), _people(systems) if subjects else {}),
        Section("By group", _there(group_table(systems))),
        Section(
            "Calibration",
            _there(calibration_table(systems)),
            {
                f"reliability_{number}": _reliability(system)
                for number, system in enumerate(shown, start=1)
                if system.has_validation
            },
        ),
        Section(
            "Curves",
            figures={
                f"curves_{number}": _curves(system)
                for number, system in enumerate(shown, start=1)
                if system.runs[0].results.get("history")
            },
        ),
        _heat_maps(shown),
    ]


def _there(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table is not None]


def _intervals(systems: Sequence[System], resamples: int, seed: int) -> Figure:
    values = [float(np.mean([run.metric("test/uar") for run in system.runs])) for system in systems]
    ends = [
        bootstrap_intervals(
            run_confusions(system.frames, system.class_names, system.unit), resamples=resamples, seed=seed
        )["uar"]
        for system in systems
    ]
    low, high = zip(*ends, strict=True)
    classes = {len(system.class_names) for system in systems}
    chance = 1 / classes.pop() if len(classes) == 1 else None
    names, levels = [system.name for system in systems], [system.level for system in systems]
    return figures.score_intervals(names, values, low, high, levels, chance)


def _confusion(system: System) -> Figure:
    counts = confusion(system.frames, system.class_names)
    reached = scores(counts).means()
    title = f"{system.name}\n{system.level}: UAR {reached['uar']:.1%}, WAR {reached['accuracy']:.1%}"
    return figures.confusion_matrix(counts, system.class_names, title)


def _people(systems: Sequence[System]) -> dict[str, Figure]:
    known = [system for system in systems if system.unit == "subject"]
    right = []
    for system in known:
        people = (system.frames["predicted"] == system.frames["label"]).groupby(keys(system.frames, "subject"))
        right.append(people.mean()[people.size() >= FEWEST_OF_A_PERSON].tolist())
    return {"subjects": figures.subject_scores([system.name for system in known], right)} if known else {}


def _reliability(system: System) -> Figure:
    before, after, labels = scaled_probabilities(system)
    return figures.reliability_diagram(reliability(before, labels), reliability(after, labels), system.name)


def _curves(system: System) -> Figure:
    results = system.runs[0].results
    figure = figures.curves(results["history"], results["best_epoch"])
    figure.suptitle(system.name + (" (its first run)" if len(system.runs) > 1 else ""), fontsize=10)
    return figure


def _heat_maps(systems: Sequence[System]) -> Section:
    """What fervid.explain left in the systems' first runs."""
    drawn, damaged = {}, []
    for number, system in enumerate(systems, start=1):
        path = system.runs[0].folder / HEAT_MAPS
        if not path.exists():
            continue
        try:
            means = MeanHeatMaps.load(path)
        except InputError as error:
            damaged.append(f"Left out: {error}")
            continue
        title = system.name + (" (its first run)" if len(system.runs) > 1 else "")
        drawn[f"heat_maps_{number}"] = means.draw(title)
    about = (
        "Where in the face the score of each emotion comes from (Grad-CAM), as the mean over test frames of the "
        "emotion: those that are right; all where fewer than five are. One scale for all emotions of a system."
    )
    return Section("What the networks look at", figures=drawn, sentences=[*([about] if drawn else []), *damaged])
