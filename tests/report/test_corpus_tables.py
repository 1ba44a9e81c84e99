"""The table of training and test corpora, from stored runs."""

import numpy as np
import pytest

from fervid.metrics.aggregation import confusion
from fervid.metrics.scores import scores
from fervid.report.corpus_tables import ALL_OTHERS, corpus_differences, label_map_table, train_test_table
from fervid.report.leak_tables import leak_table
from fervid.report.systems import find_systems


@pytest.fixture
def run_on(a_run):
    """A run that was trained on some corpora and tested on others."""

    def make(trained, tested, known=("a", "b", "c"), **settings):
        run = a_run(
            f"{trained}_on_{tested}_{settings.get('optimizer.lr')}_{settings.get('split.folds')}",
            {"dataset.corpora": {name: {"root": f"/{name}"} for name in known}, "split.corpus": tested, **settings},
            split="leave_corpus_out",
            edit=lambda table: table.assign(corpus=tested),
        )
        run.results["data"]["corpus_by_split"] = {
            name: {"train": 9 * (name in trained), "val": 3 * (name in trained), "test": 5 * (name == tested)}
            for name in known
        }
        return run

    return make


def table_of(runs):
    table = train_test_table(find_systems(runs)[0], resamples=100, seed=0)
    return None if table is None else table.data.set_index("trained on")


def test_rows_are_training_corpora_and_columns_test_corpora(run_on):
    runs = [run_on("bc", "a"), run_on("ac", "b"), run_on("b", "a", **{"split.train": ["b"]})]
    table = table_of(runs)
    assert table.index.tolist() == ["b", ALL_OTHERS]
    cells = table.loc[ALL_OTHERS]
    for name, run in zip("ab", runs[:2], strict=True):
        uar = scores(confusion(run.predictions, run.class_names)).means()["uar"]
        assert cells[f"on {name}"].startswith(f"{uar:.1%} (")
    assert cells["pooled"].count("%") == 1
    assert table.loc["b"].isna().tolist() == [False, False, True, True]  # emotions, on a, on b, pooled


def test_two_corpora_are_named_instead_of_all_others(run_on):
    table = table_of([run_on("a", "b", known="ab"), run_on("b", "a", known="ab")])
    assert table.index.tolist() == ["a", "b"]


def test_other_protocols_are_not_pooled(run_on):
    runs = [run_on("a", "b", known="ab", **{"split.folds": name}) for name in ("five", "six")]
    table = table_of([*runs, run_on("b", "a", known="ab", **{"split.folds": "six"})])
    assert table.loc["a", "system"].tolist() == ["folds=five", "folds=six"]


def test_a_single_corpus_has_no_table(a_run):
    systems = find_systems([a_run("one"), a_run("two", seed=1)])[0]
    assert train_test_table(systems, resamples=100, seed=0) is None
    assert label_map_table(systems) is None


def test_labels_of_the_corpora(run_on):
    runs = [run_on("b", "a", known="ab"), run_on("a", "b", known="ab")]
    entry = {"corpus": "a", "label": "calm", "mapped_to": None, "frames": 3, "reason": "label_map"}
    for run in runs:
        run.results["data"]["label_map"] = [entry, entry | {"label": "happy", "mapped_to": "happy", "reason": ""}]
    table = label_map_table(find_systems(runs)[0]).data
    assert table[["corpus", "label", "frames", "reason for dropping"]].to_numpy().tolist() == [
        ["a", "calm", 3, "label_map"],
        ["a", "happy", 3, ""],
    ]


def test_systems_are_not_pooled_and_corpora_are_no_effect_of_the_split(run_on):
    """Runs that differ in other settings have rows of their own; tests on other corpora do not leak."""
    runs = []
    for lr in (0.1, 0.01):
        for trained, tested in (("a", "b"), ("b", "a")):
            run = run_on(trained, tested, known="ab", **{"optimizer.lr": lr})
            run.results["leakage"]["level"] = "leaky" if tested == "a" else "subject-independent"
            runs.append(run)
    table = table_of(runs)
    assert sorted(zip(table.index, table["system"], strict=True)) == [
        ("a", "lr=0.01"), ("a", "lr=0.1"), ("b", "lr=0.01"), ("b", "lr=0.1")
    ]  # fmt: skip
    assert leak_table(find_systems(runs)[0]) is None


def test_differences_are_those_of_each_test_corpus(a_run):
    """Two systems that differ on one of two corpora only."""

    def halved(table):
        return table.assign(corpus=np.where(table["subject"].isin(["00", "01", "02"]), "a", "b"))

    def worse_on_b(table):
        wrong = (halved(table)["corpus"] == "b") & (table["clip"].str.endswith("-0"))
        swapped = table.assign(prob_happy=np.where(wrong, 0.0, table["prob_happy"]))
        chances = swapped[["prob_happy", "prob_angry", "prob_sad"]]
        best = chances.to_numpy().argmax(axis=1)
        return halved(swapped.assign(predicted=np.array(["happy", "angry", "sad"], dtype=object)[best]))

    runs = [a_run("one", {"optimizer.lr": 0.1}, edit=halved), a_run("other", {"optimizer.lr": 0.01}, edit=halved)]
    other = runs[0].predictions.drop(columns=["corpus"])
    runs[1].__dict__["predictions"] = worse_on_b(other)
    systems = find_systems(runs)[0]
    table = corpus_differences(systems, 1, resamples=200, seed=0).data
    assert table["corpus"].tolist() == ["a", "b"]
    assert table["clips"].tolist() == [18, 18]
    assert table["UAR clips, A - B"].iloc[0] == "+0.0 points (+0.0 to +0.0)"
    assert table["UAR clips, A - B"].iloc[1] != table["UAR clips, A - B"].iloc[0]
    assert corpus_differences(systems[:1], 1, resamples=200, seed=0) is None


def test_runs_of_different_splits_are_not_pooled(run_on):
    """The same clips would count twice."""
    one, other = run_on("a", "b", known="ab"), run_on("a", "b", known="ab", **{"optimizer.lr": 0.1})
    other.results["choices"]["split"] = "each_corpus"
    other.results["config"]["optimizer"]["lr"] = one.results["config"]["optimizer"]["lr"]
    table = table_of([one, other, run_on("b", "a", known="ab")])
    assert sorted(table["system"].tolist()) == ["each_corpus", "leave_corpus_out", "leave_corpus_out"]
