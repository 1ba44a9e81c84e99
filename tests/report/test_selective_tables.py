"""The sections of a report on abstention and conformal sets."""

import numpy as np
import pandas as pd
import pytest

from fervid.metrics.aggregation import class_indices
from fervid.metrics.calibration import apply_temperature, fit_temperature
from fervid.report.classification import classification_sections
from fervid.report.selective_tables import RISKS, abstention_table, conformal_table, risk_curve
from fervid.report.systems import find_systems
from fervid.schema.predictions import VALIDATION_FILE, probabilities


@pytest.fixture
def folds(a_run):
    """A system of two folds whose networks differ in sharpness between subsets."""
    options = {"skill": 2.5, "clips": 4, "sharpness": 4.0}
    runs = [a_run(f"run {fold}", fold=fold, subjects=range(4 * fold, 4 * fold + 4), **options) for fold in range(2)]
    return find_systems(runs)[0][0]


def calibrated(run, table, temperature=None):
    labels = class_indices(table["label"], run.class_names)
    values = probabilities(table, run.class_names)
    temperature = temperature or fit_temperature(values, labels)
    return apply_temperature(values, temperature).max(axis=1), values.argmax(axis=1) == labels, temperature


def test_thresholds_are_those_of_each_runs_own_validation(folds):
    table = abstention_table([folds]).data
    assert table["risk allowed"].tolist() == list(RISKS)
    rows = []
    for run in folds.runs:
        confidence, correct, temperature = calibrated(run, run.validation)
        allowed = [
            t for t in confidence if (~correct[confidence >= t]).sum() + 1 <= 0.2 * ((confidence >= t).sum() + 1)
        ]
        test, right, _ = calibrated(run, run.predictions, temperature)
        answered = test >= min(allowed)
        rows.append({"threshold": min(allowed), "coverage": answered.mean(), "risk": 1 - right[answered].mean()})
    found = table[table["risk allowed"] == 0.2].iloc[0]
    for name, value in pd.DataFrame(rows).mean().items():
        assert found[name] == pytest.approx(value)
    assert 0 < found["coverage"] <= 1
    assert "runs without threshold" not in table or table["runs without threshold"].max() > 0
    coverage, risk = risk_curve(folds)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx((folds.frames["predicted"] != folds.frames["label"]).mean())


def test_a_risk_that_no_threshold_reaches_is_empty(a_run):
    (system,) = find_systems([a_run("weak", skill=-1.0)])[0]
    table = abstention_table([system]).data
    assert table["coverage"].isna().all()
    assert table["runs without threshold"].tolist() == [1] * len(RISKS)
    assert table["AURC"].notna().all()


def test_conformal_sets_are_counted_by_emotion(folds):
    table = conformal_table([folds]).data.set_index("emotion")
    assert list(table.index) == ["all", *folds.class_names]
    assert table.loc["all", "frames"] == len(folds.frames) == table["frames"][1:].sum()
    for name in ("coverage", "mean size", "single"):
        assert table.loc["all", name] == pytest.approx(np.average(table[name][1:], weights=table["frames"][1:]))
    assert 0.75 < table.loc["all", "coverage"] <= 1
    assert 1 <= table["mean size"].min()


def test_systems_without_validation_are_left_out(folds, a_run):
    bare = a_run("bare", {"backbone": "other"}, skill=2.0)
    (bare.folder / VALIDATION_FILE).unlink()
    systems = find_systems([*folds.runs, bare])[0]
    for table in (abstention_table(systems), conformal_table(systems)):
        assert table.data["system"].nunique() == 1
        assert table.notes[-1] == "Omitted because predictions_val.csv is missing: other."
    assert abstention_table(systems[1:]) is None
    assert conformal_table(systems[1:]) is None


def test_too_few_validation_samples_give_no_sets(folds, a_run):
    few = a_run("few", {"backbone": "other"}, skill=2.0)
    path = few.folder / VALIDATION_FILE
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:6]))
    systems = find_systems([*folds.runs, few])[0]
    assert any("need at least 9 validation samples, and there are 5" in note for note in conformal_table(systems).notes)


def test_the_report_has_both_sections(folds):
    sections = {each.title: each for each in classification_sections([folds], [], resamples=100, seed=0)}
    assert list(sections["Abstention"].figures) == ["risk_coverage"]
    assert [table.name for table in sections["Abstention"].tables] == ["abstention"]
    assert [table.name for table in sections["Conformal sets"].tables] == ["conformal"]
