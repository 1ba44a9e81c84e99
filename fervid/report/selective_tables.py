"""Abstention and conformal sets of each system, calibrated on its validation subset."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.metrics.aggregation import class_indices, confusion
from fervid.metrics.calibration import apply_temperature, fit_temperature
from fervid.metrics.conformal import conformal_sets, min_probability
from fervid.metrics.scores import scores
from fervid.metrics.selective import area_under_risk_coverage, risk_coverage, risk_threshold
from fervid.report.systems import System, sample_noun
from fervid.runs.run import Run
from fervid.schema.predictions import probabilities
from fervid.schema.tables import Table

RISKS = (0.05, 0.1, 0.2)  # largest fractions of wrong answers
SET_COVERAGE = 0.9  # fraction of conformal sets that should contain the label


class _Confidences(NamedTuple):
    """Calibrated confidence of N predictions, and whether each is correct, both (N,)."""

    confidence: np.ndarray
    correct: np.ndarray


def abstention_table(systems: Sequence[System]) -> Table | None:
    """Returns coverage and risk on test samples with thresholds from the validation subset, for several risks.

    None if no system has predictions of validation frames.
    """
    rows = []
    for system in systems:
        if not system.has_validation:
            continue
        calibrated = [_calibrated(run) for run in system.runs]
        area = float(np.mean([area_under_risk_coverage(*test) for _, test in calibrated]))
        for risk in RISKS:
            found = [_answered(run, *each, max_risk=risk) for run, each in zip(system.runs, calibrated, strict=True)]
            reached = pd.DataFrame([each for each in found if each is not None])
            rows.append(
                {
                    "system": system.name,
                    "leakage": system.level,
                    "risk allowed": risk,
                    **{name: reached[name].mean() if name in reached else None for name in _ANSWERED},
                    "runs without threshold": len(found) - len(reached),
                    "AURC": area,
                }
            )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    if not data["runs without threshold"].any():
        data = data.drop(columns="runs without threshold")
    samples = sample_noun(systems)
    notes = [
        f"A model answers only {samples} whose confidence, after temperature scaling, reaches a threshold. Temperature "
        "and threshold are those of the validation subset of each run: the smallest threshold with which, counting "
        "one error more than were made, at most the allowed fraction of its answers is wrong. Empty: none suffices.",
        f"Coverage: fraction of the test {samples} that are answered. Risk: fraction of wrong predictions among these; "
        "it may exceed the allowed one, since the test subjects are others. UAR answered: UAR of the answers alone, "
        "whose emotions may be distributed differently.",
        "AURC: area under the risk-coverage curve (Geifman, Uziel and El-Yaniv 2019), the mean risk over all "
        "coverages; 0 is best.",
        *_omitted(systems),
    ]
    formats = {"risk allowed": "{:.0%}", "threshold": "{:.2f}", "AURC": "{:.3f}"}
    formats |= dict.fromkeys(("coverage", "risk", "UAR answered"), "{:.1%}")
    return Table("abstention", "Abstention", data, formats, notes)


def risk_curve(system: System) -> tuple[np.ndarray, np.ndarray]:
    """Returns coverage and risk over the test samples of all replicates, each calibrated by itself."""
    parts = [_calibrated(run)[1] for run in system.runs]
    return risk_coverage(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def conformal_table(systems: Sequence[System]) -> Table | None:
    """Returns coverage and size of conformal sets on test samples, overall and by emotion.

    None if no system has enough predictions of validation frames.
    """
    rows, few = [], []
    for system in systems:
        if not system.has_validation:
            continue
        try:
            parts = [_sets(run) for run in system.runs]
        except InputError as error:
            few.append(f"{system.name}: {error}")
            continue
        sets, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        covered, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
        groups = [("all", np.ones(len(labels), dtype=bool))]
        groups += [(name, labels == number) for number, name in enumerate(system.class_names)]
        rows += [
            {
                "system": system.name,
                "leakage": system.level,
                "emotion": name,
                sample_noun(systems): int(chosen.sum()),
                "coverage": covered[chosen].mean() if chosen.any() else None,
                "mean size": sizes[chosen].mean() if chosen.any() else None,
                "single": (sizes[chosen] == 1).mean() if chosen.any() else None,
            }
            for name, chosen in groups
        ]
    if not rows:
        return None
    notes = [
        "The set of a sample has all emotions whose probability reaches a threshold, and the most probable one. With "
        f"the threshold, {SET_COVERAGE:.0%} of the sets of the validation subset contain the label (split conformal "
        "prediction, LAC; Sadinle, Lei and Wasserman 2019).",
        f"Coverage: fraction of the test sets that contain the label. It is {SET_COVERAGE:.0%} on average only if test "
        "and validation samples are exchangeable. They are not quite: the subjects differ, samples of one subject are "
        "alike, and the validation subset has selected the weights. It holds over all emotions, not for each of them.",
        "Single: fraction of the sets with one emotion. All replicates are counted, each with its own threshold.",
        *few,
        *_omitted(systems),
    ]
    formats = {"coverage": "{:.1%}", "mean size": "{:.2f}", "single": "{:.1%}"}
    return Table("conformal", f"Conformal sets for {SET_COVERAGE:.0%} coverage", pd.DataFrame(rows), formats, notes)


_ANSWERED = ("threshold", "coverage", "risk", "UAR answered")


def _answered(run: Run, validation: _Confidences, test: _Confidences, *, max_risk: float) -> dict[str, float] | None:
    threshold = risk_threshold(*validation, max_risk)
    if threshold is None:
        return None
    answered = test.confidence >= threshold
    answers = scores(confusion(run.predictions[answered], run.class_names)).means()
    values = (threshold, answered.mean(), 1 - answers["accuracy"], answers["uar"])
    return dict(zip(_ANSWERED, values, strict=True))


def _calibrated(run: Run) -> tuple[_Confidences, _Confidences]:
    """Confidences of validation and test, with the temperature of the validation subset."""
    tables = [
        (probabilities(table, run.class_names), _labels(run, table)) for table in (run.validation, run.predictions)
    ]
    temperature = fit_temperature(*tables[0])
    validation, test = (
        _Confidences(apply_temperature(values, temperature).max(axis=1), values.argmax(axis=1) == labels)
        for values, labels in tables
    )
    return validation, test


def _sets(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Conformal sets (N, C) of the test samples, and their labels (N,)."""
    validation = probabilities(run.validation, run.class_names)
    threshold = min_probability(validation, _labels(run, run.validation), SET_COVERAGE)
    return conformal_sets(probabilities(run.predictions, run.class_names), threshold), _labels(run, run.predictions)


def _labels(run: Run, table: pd.DataFrame) -> np.ndarray:
    return class_indices(table["label"], run.class_names)


def _omitted(systems: Sequence[System]) -> list[str]:
    missing = [system.name for system in systems if not system.has_validation]
    return [f"Omitted because predictions_val.csv is missing: {'; '.join(missing)}."] if missing else []
