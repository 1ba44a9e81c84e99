"""Report sections on classification: scores, paired tests, emotions, subjects, calibration and abstention."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fervid import figures
from fervid.errors import InputError
from fervid.figures.heat_maps import HEAT_MAPS, MeanHeatMaps
from fervid.figures.training import SCORES
from fervid.metrics.aggregation import confusion
from fervid.metrics.calibration import reliability
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, run_confusions
from fervid.report.calibration_tables import calibration_table, scaled_probabilities
from fervid.report.corpus_tables import corpus_differences, label_map_table, train_test_table
from fervid.report.group_tables import MIN_SUBJECT_FRAMES, class_table, group_table, subject_table
from fervid.report.leak_tables import leak_table
from fervid.report.paired_tests import paired_tests
from fervid.report.references import reference_table
from fervid.report.run_tables import incomparable_table
from fervid.report.score_tables import modality_table, score_table, summary_table
from fervid.report.selective_tables import abstention_table, conformal_table, risk_curve
from fervid.report.systems import System, comparable
from fervid.report.writing import Section
from fervid.schema.columns import keys
from fervid.schema.tables import Table

MAX_SYSTEM_FIGURES = 12  # systems with their own confusion matrix, training curves and reliability diagram


def classification_sections(
    systems: Sequence[System], sentences: Sequence[str], *, resamples: int, seed: int
) -> list[Section]:
    """Builds the report sections on classification.

    Args:
        systems: the systems to compare.
        sentences: sentences to add to the summary.
        resamples: number of bootstrap samples for each interval.
        seed: seed of the bootstrap.
    """
    sets = comparable(systems)
    scored = [score_table(group, number, resamples=resamples, seed=seed) for number, group in enumerate(sets, start=1)]
    by_corpus = [
        corpus_differences(group, number, resamples=resamples, seed=seed) for number, group in enumerate(sets, start=1)
    ]
    tests = [paired_tests(group, number, resamples=resamples, seed=seed) for number, group in enumerate(sets, start=1)]
    subjects = subject_table(systems)
    shown = systems[:MAX_SYSTEM_FIGURES]
    sentences = [*sentences, *omitted_figures(systems)]
    return [
        Section("Summary", [summary_table(systems, sets)], sentences=sentences, terminal=True),
        Section("Leakage", present(leak_table(systems)), terminal=True),
        Section("Scores", scored, {"scores": _intervals(systems, resamples, seed)}),
        Section(
            "Corpora", present(train_test_table(systems, resamples=resamples, seed=seed), *by_corpus), terminal=True
        ),
        Section("Labels of the corpora", present(label_map_table(systems))),
        Section("Published results", present(reference_table(systems)), terminal=True),
        Section("Modalities", present(modality_table(systems)), terminal=True),
        Section("Paired tests", present(*tests)),
        Section("Not compared", present(incomparable_table(sets)), terminal=True),
        Section(
            "By emotion",
            [class_table(systems)],
            {f"confusion_{number}": confusion_figure(system) for number, system in enumerate(shown, start=1)},
        ),
        Section("By subject", present(subjects), _subject_figure(systems) if subjects else {}),
        Section("By group", present(group_table(systems))),
        Section(
            "Calibration",
            present(calibration_table(systems)),
            {
                f"reliability_{number}": _reliability(system)
                for number, system in enumerate(shown, start=1)
                if system.has_validation
            },
        ),
        Section("Abstention", present(abstention_table(systems)), _risk_figure(shown)),
        Section("Conformal sets", present(conformal_table(systems))),
        Section(
            "Training curves",
            figures={
                f"curves_{number}": curves_figure(system)
                for number, system in enumerate(shown, start=1)
                if system.runs[0].results.get("history")
            },
        ),
        _heat_maps(shown),
    ]


def omitted_figures(systems: Sequence[System]) -> list[str]:
    """Returns a sentence if not all systems have figures of their own."""
    if len(systems) <= MAX_SYSTEM_FIGURES:
        return []
    return [f"Figures of individual systems show only the first {MAX_SYSTEM_FIGURES} of {len(systems)} systems."]


def present(*tables: Table | None) -> list[Table]:
    """Returns the tables that exist."""
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


def confusion_figure(system: System) -> Figure:
    """Draws the confusion matrix of the test frames of all replicates."""
    counts = confusion(system.frames, system.class_names)
    means = scores(counts).means()
    title = f"{system.name}\n{system.level}: UAR {means['uar']:.1%}, WAR {means['accuracy']:.1%}"
    return figures.confusion_matrix(counts, system.class_names, title)


def _subject_figure(systems: Sequence[System]) -> dict[str, Figure]:
    known = [system for system in systems if system.unit == "subject"]
    accuracies = []
    for system in known:
        correct = (system.frames["predicted"] == system.frames["label"]).groupby(keys(system.frames, "subject"))
        accuracies.append(correct.mean()[correct.size() >= MIN_SUBJECT_FRAMES].tolist())
    return {"subjects": figures.subject_scores([system.name for system in known], accuracies)} if known else {}


def _reliability(system: System) -> Figure:
    before, after, labels = scaled_probabilities(system)
    return figures.reliability_diagram(reliability(before, labels), reliability(after, labels), system.name)


def _risk_figure(systems: Sequence[System]) -> dict[str, Figure]:
    known = [system for system in systems if system.has_validation]
    curves = [risk_curve(system) for system in known]
    return {"risk_coverage": figures.risk_coverage([system.name for system in known], curves)} if known else {}


def curves_figure(system: System, scores: Sequence[str] = SCORES) -> Figure:
    """Draws the training curves of the first run.

    Args:
        system: the system.
        scores: names of the scores, without prefix.
    """
    results = system.runs[0].results
    figure = figures.curves(results["history"], results["best_epoch"], scores)
    figure.suptitle(system.name + (" (first run)" if len(system.runs) > 1 else ""), fontsize=10)
    return figure


def _heat_maps(systems: Sequence[System]) -> Section:
    """The heat maps that fervid.explain stored in the first run of each system."""
    drawn, damaged = {}, []
    for number, system in enumerate(systems, start=1):
        path = system.runs[0].folder / HEAT_MAPS
        if not path.exists():
            continue
        try:
            means = MeanHeatMaps.load(path)
        except InputError as error:
            damaged.append(f"Omitted: {error}")
            continue
        title = system.name + (" (first run)" if len(system.runs) > 1 else "")
        drawn[f"heat_maps_{number}"] = means.draw(title)
    explanation = (
        "Face regions that contribute to the score of each emotion (Grad-CAM), averaged over the correctly classified "
        "test frames of the emotion, or over all of its test frames if fewer than five are correct. All emotions of a "
        "system share one colour scale."
    )
    return Section("Heat maps", figures=drawn, sentences=[*([explanation] if drawn else []), *damaged])
