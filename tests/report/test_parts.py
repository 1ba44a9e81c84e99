"""Reports on valence and arousal, action units, and several targets."""

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fervid.metrics.parts import part_scores
from fervid.report.report import make_report
from fervid.report.systems import comparable, find_systems, reason_not_comparable
from fervid.runs.run import read_run
from fervid.schema.results import write_results


@pytest.fixture(scope="module")
def report(part_runs, tmp_path_factory):
    """A report on one run of each task, and what it prints."""
    folder = tmp_path_factory.mktemp("parts") / "report"
    console = Console(record=True, width=160)
    runs = [str(path) for path in part_runs.values()]
    make_report(folder, console, runs=runs, paper=None, title="Parts", resamples=100, seed=0)
    return folder, console.export_text()


def read(report, name):
    """Reads a table, in whose cells an apostrophe protects what could be a formula."""
    table = pd.read_csv(report[0] / "tables" / f"{name}.csv")
    return table.map(lambda cell: cell.removeprefix("'") if isinstance(cell, str) else cell)


def test_every_task_has_its_sections_and_files(report):
    page = (report[0] / "report.md").read_text()
    for task in ("valence_arousal", "action_units", "multi"):
        assert f"## Task {task}: Summary" in page
        assert (report[0] / "tables" / f"{task}_summary.csv").exists()
        assert (report[0] / "figures" / f"{task}_curves_1.png").exists()
    for figure in ("valence_arousal_valence_arousal_1", "action_units_action_units_1", "multi_confusion_1"):
        assert (report[0] / "figures" / f"{figure}.png").exists()
    assert "These systems also differ in" not in page  # a task sets finetune.monitor


def test_scores_are_those_of_the_predictions_with_intervals(report, part_runs):
    run = read_run(part_runs["valence_arousal"])
    (row,) = read(report, "valence_arousal_valence_arousal_1").to_dict("records")
    scores = part_scores(run.predictions, run.parts[0])
    assert row["CCC frames"].startswith(f"{scores['ccc']:.3f} (")
    assert row["RMSE clips"].startswith(f"{run.metric('test/clip_rmse'):.3f} (")
    units = read(report, "action_units_units").set_index("unit")
    of_units = read_run(part_runs["action_units"])
    for name, title in zip(of_units.parts[0].names, of_units.parts[0].titles, strict=True):
        value = of_units.metric(f"test/f1_{name}")
        shown = units.loc[title, "F1"]
        assert pd.isna(shown) if np.isnan(value) else shown.startswith(f"{value:.1%}")
        assert units.loc[title, "present"] == pytest.approx(of_units.predictions[name].mean())
    summary = read(report, "multi_summary").iloc[0]
    several = read_run(part_runs["multi"])
    assert summary["mean score"] == pytest.approx(several.metric("test/mean_score"), abs=6e-4)
    assert summary["UAR"] == f"{several.metric('test/uar'):.1%}"
    assert f"{several.metric('test/mean_score'):.3f}" in report[1]


def test_subjects_and_tidy_scores(report, part_runs):
    run = read_run(part_runs["valence_arousal"])
    subjects = read(report, "valence_arousal_subjects").set_index("subject")
    for subject, part in run.predictions.groupby("subject"):
        assert subjects.loc[subject, "CCC"] == pytest.approx(part_scores(part, run.parts[0])["ccc"])
    tidy = pd.read_csv(report[0] / "scores.csv")
    chosen = tidy[(tidy["run"] == str(run.folder)) & (tidy["by"] == "all")].set_index(["level", "metric"])["score"]
    assert chosen["frames", "ccc_valence"] == pytest.approx(run.metric("test/ccc_valence"))
    assert chosen["clips, mean", "rmse"] == pytest.approx(run.metric("test/clip_rmse"))
    multi = tidy[tidy["run"] == str(part_runs["multi"])]
    assert {"uar", "ccc", "f1_units", "f1_au_25", "recall"} <= set(multi["metric"])


def copied(run, folder, seed, predictions):
    """A run like another one, with its own learning rate and predictions."""
    folder.mkdir()
    results = {**run.results, "seed": seed}
    results["config"] = {**results["config"], "optimizer": {**results["config"]["optimizer"], "lr": 0.5}}
    predictions.to_csv(folder / "predictions.csv", index=False)
    write_results(folder, results)
    return read_run(folder)


def test_difference_of_two_systems_has_a_paired_interval(part_runs, tmp_path):
    run = read_run(part_runs["valence_arousal"])
    better = run.predictions.assign(predicted_valence=run.predictions["valence"])
    other = copied(run, tmp_path / "other", 1, better)
    other.results["metrics"]["test/ccc"] = part_scores(better, run.parts[0])["ccc"]
    write_results(tmp_path / "other", other.results)
    runs = [str(run.folder), str(tmp_path / "other")]
    make_report(tmp_path / "report", Console(quiet=True), runs=runs, paper=None, title="Two", resamples=100, seed=0)
    (row,) = read([tmp_path / "report"], "tests_valence_arousal_1").to_dict("records")
    difference = run.metric("test/ccc") - other.results["metrics"]["test/ccc"]
    assert row["CCC, A - B"].startswith(f"{difference:+.3f} (-")


def test_systems_with_other_units_or_labels_are_not_compared(part_runs, tmp_path):
    run = read_run(part_runs["action_units"])
    names = list(run.parts[0].names)
    fewer = copied(run, tmp_path / "fewer", 1, run.predictions)
    fewer.results["parts"] = {"action_units": names[1:]}
    relabelled = copied(run, tmp_path / "relabelled", 1, run.predictions.assign(**{names[0]: 0}))
    for other, reason in ((fewer, "different outputs: AU1 in only one"), (relabelled, "different labels of the same")):
        systems = find_systems([run, other])[0]
        assert len(comparable(systems)) == 2
        assert reason in reason_not_comparable(*systems)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (None, "parts is None: expected an object"),
        ({"valence_arousal": ["valence"]}, "expected valence and arousal"),
        ({"gaze": ["x"]}, "expected emotion, valence_arousal or action_units"),
        ({"action_units": ["au_1"]}, "expected only valence_arousal"),
    ],
)
def test_damaged_parts_of_a_run_are_one_sentence(part_runs, tmp_path, parts, sentence):
    run = read_run(part_runs["valence_arousal"])
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run", {name: value for name, value in (run.results | {"parts": parts}).items() if value})
    with pytest.raises(Exception, match=sentence):
        read_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.drop(columns="predicted_arousal"), "it has no column predicted_arousal"),
        (lambda table: table.assign(valence=2.0), "its column valence has values outside -1 to 1"),
        (lambda table: table.assign(arousal="high"), "its column arousal has values that are not numbers"),
        (lambda table: table.assign(predicted_valence=[np.nan, *table["predicted_valence"][1:]]), "it has empty cells"),
    ],
)
def test_damaged_predictions_are_one_sentence(part_runs, tmp_path, change, sentence):
    run = read_run(part_runs["valence_arousal"])
    other = copied(run, tmp_path / "run", 1, change(run.predictions))
    with pytest.raises(Exception, match=sentence):
        _ = other.predictions
