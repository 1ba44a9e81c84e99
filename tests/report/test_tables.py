import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support, recall_score
from statsmodels.stats.multitest import multipletests

from fervid.metrics.aggregation import RULES
from fervid.metrics.calibration import apply_temperature, expected_calibration_error, fit_temperature
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, bootstrap_scores, run_confusions
from fervid.report.calibration_tables import calibration_table, scaled_probabilities
from fervid.report.group_tables import class_table, group_table, subject_table
from fervid.report.leak_tables import leak_table
from fervid.report.paired_tests import paired_tests
from fervid.report.run_tables import incomparable_table, run_table
from fervid.report.score_tables import score_table, summary_table
from fervid.report.systems import comparable, find_systems
from fervid.report.tidy import tidy
from fervid.schema.columns import grouping_columns

NAMES = ["happy", "angry", "sad"]
CHANCES = [f"prob_{name}" for name in NAMES]
KEYS = {"resamples": 200, "seed": 0}


@pytest.fixture
def folds(a_run):
    """Networks that differ in skill, on three folds of four subjects."""

    def make(**skills):
        runs = [
            a_run(f"{name} {fold}", {"backbone": name}, fold=fold, subjects=range(4 * fold, 4 * fold + 4), skill=skill)
            for name, skill in skills.items()
            for fold in range(3)
        ]
        return find_systems(runs)[0]

    return make


@pytest.fixture
def one(a_run):
    """A system of a single run."""

    def make(name="run", settings=None, **options):
        return find_systems([a_run(name, settings, **options)])[0][0]

    return make


def uar(true, predicted):
    return recall_score(true, predicted, labels=sorted(set(true)), average="macro")


def by_clip(frames, rule="mean"):
    """Label and prediction of each clip."""
    true, predicted = [], []
    chances, said, labels = frames[CHANCES].to_numpy(), frames["predicted"].to_numpy(), frames["label"].to_numpy()
    for rows in frames.reset_index(drop=True).groupby("clip").indices.values():
        rates = chances[rows]
        if rule == "majority":
            votes = [(said[rows] == name).sum() for name in NAMES]
            best = max(range(3), key=lambda number, votes=votes, rates=rates: (votes[number], rates[:, number].mean()))
        else:
            best = np.average(rates, axis=0, weights=rates.max(axis=1) if rule == "confidence" else None).argmax()
        true.append(labels[rows[0]])
        predicted.append(NAMES[best])
    return true, predicted


def numbers(cell):
    """Mean, standard deviation and interval of a cell, in percent."""
    found = re.fullmatch(r"([\d.]+)%(?: ± ([\d.]+))?(?: \(([\d.]+) to ([\d.]+)\))?", cell)
    assert found, cell
    return [float(number) if number else None for number in found.groups()]


def points(cell):
    """Difference and interval of a cell, in points."""
    found = re.fullmatch(r"([+-][\d.]+) points \(([+-][\d.]+) to ([+-][\d.]+)\)", cell)
    assert found, cell
    return [float(number) for number in found.groups()]


class TestScores:
    def test_mean_and_spread_over_folds(self, folds):
        systems = folds(a=1.0, b=0.2)
        table = score_table(systems, 1, **KEYS)
        assert table.data["system"].tolist() == ["a", "b"]
        assert table.data["runs"].tolist() == [3, 3]
        for system, row in zip(systems, table.data.to_dict("records"), strict=True):
            frames = [run.predictions for run in system.runs]
            expected = {
                "UAR frames": [uar(fold["label"], fold["predicted"]) for fold in frames],
                "WAR frames": [(fold["label"] == fold["predicted"]).mean() for fold in frames],
                **{f"UAR clips, {rule}": [uar(*by_clip(fold, rule)) for fold in frames] for rule in RULES},
                "WAR clips, mean": [np.equal(*map(np.array, by_clip(fold))).mean() for fold in frames],
            }
            assert set(expected) == set(row) - {"system", "runs", "leakage"}
            for name, values in expected.items():
                assert numbers(row[name])[:2] == pytest.approx(
                    [100 * np.mean(values), 100 * np.std(values, ddof=1)], abs=0.0501
                ), name
        assert len({row["UAR clips, mean"] for row in table.data.to_dict("records")}) == 2

    def test_intervals_resample_subjects_of_all_folds(self, folds):
        systems = folds(a=1.0)
        row = score_table(systems, 1, **KEYS).data.iloc[0]
        interval = bootstrap_intervals(run_confusions(systems[0].frames, NAMES, "subject"), **KEYS)
        assert numbers(row["UAR frames"])[2:] == pytest.approx([100 * end for end in interval["uar"]], abs=0.0501)
        assert numbers(row["WAR frames"])[2:] == pytest.approx([100 * end for end in interval["accuracy"]], abs=0.0501)
        assert numbers(row["UAR clips, mean"])[2] is not None
        assert numbers(row["UAR clips, majority"])[2:] == [None, None]

    def test_fewer_subjects_give_wider_intervals(self, one):
        widths = []
        for subjects in (4, 40):
            table = score_table([one(str(subjects), subjects=range(subjects))], 1, **KEYS)
            low, high = numbers(table.data["UAR frames"][0])[2:]
            widths.append(high - low)
        assert widths[0] > 2 * widths[1]

    def test_unknown_subjects_resample_clips(self, one):
        known, unknown = one("a"), one("a2", known=False)
        row = score_table([unknown], 1, **KEYS).data.iloc[0]
        interval = bootstrap_intervals(run_confusions(unknown.frames, NAMES, "clip"), **KEYS)["uar"]
        assert numbers(row["UAR frames"])[2:] == pytest.approx([100 * end for end in interval], abs=0.0501)
        notes = [" ".join(score_table([system], 1, **KEYS).notes) for system in (known, unknown)]
        assert "bootstrap samples of subjects" in notes[0]
        assert "bootstrap samples of clips, because the subjects are unknown" in notes[1]

    def test_single_run_has_no_deviation_and_single_subject_no_interval(self, one):
        table = score_table([one(subjects=[3])], 4, **KEYS)
        assert re.fullmatch(r"[\d.]+%", table.data["UAR frames"][0])
        assert table.name == "scores_4"
        assert table.title == "Set 4: synthetic (rendered), split: subject; tested on 6 clips of 1 subject"
        assert "chance-level UAR: 33.3%" in table.notes[0]
        assert not any("standard deviation" in note for note in table.notes)

    def test_emotion_missing_in_the_test(self, one):
        system = one(absent=["sad"])
        row = score_table([system], 1, **KEYS).data.iloc[0]
        frames = system.frames
        assert "sad" in set(frames["predicted"])
        assert numbers(row["UAR frames"])[0] == pytest.approx(
            100 * uar(frames["label"], frames["predicted"]), abs=0.0501
        )

    def test_one_frame_per_clip_has_no_clip_scores(self, one):
        row = score_table([one(frames=1)], 1, **KEYS).data.iloc[0]
        assert row["UAR frames"]
        assert not [name for name in row.index if "clips" in name]  # they would equal the frame scores

    def test_summary_sorts_by_set_and_score(self, folds, one):
        systems = [*folds(a=0.2, b=1.5), one("c", subjects=range(50, 53))]
        table = summary_table(systems, comparable(systems))
        assert table.data["set"].tolist() == [1, 1, 2]
        assert table.data["system"].tolist()[:2] == ["b", "a"]
        values = [run.results["metrics"]["test/clip_uar"] for run in systems[1].runs]
        expected = [100 * np.mean(values), 100 * np.std(values, ddof=1), None, None]
        assert numbers(table.data["UAR clips"].iloc[0]) == pytest.approx(expected, abs=0.0501)

    def test_undefined_score(self, a_run):
        runs = [a_run(name, {"backbone": name}) for name in ("a", "b")]
        runs[0].results["metrics"] |= {"test/uar": None, "test/clip_uar": None}  # NaN becomes null in JSON
        systems = find_systems(runs)[0]
        data = summary_table(systems, comparable(systems)).data
        assert data["system"].tolist() == ["b", "a"]
        assert data["UAR frames"].tolist()[1] == ""
        assert np.isfinite(paired_tests(systems, 1, **KEYS).data["McNemar p"][0])


class TestLeaks:
    def test_same_settings_under_different_splits(self, a_run):
        chosen = [
            ("vgg16", "random_frames", "leaky", 3.0),
            ("vgg16", "subject", "subject-independent", 0.5),
            ("vgg16", "clips", "subject-dependent", 2.0),
            ("lenet", "subject", "subject-independent", 0.2),
        ]
        runs = [
            a_run(f"{n} {seed}", {"backbone": backbone}, split=split, level=level, skill=skill, seed=seed)
            for n, (backbone, split, level, skill) in enumerate(chosen)
            for seed in (0, 1)
        ]
        table = leak_table(find_systems(runs)[0])
        assert table.data["system"].tolist() == ["vgg16"] * 3
        assert table.data["split"].tolist() == ["subject", "clips", "random_frames"]
        reached = [np.mean([run.results["metrics"]["test/uar"] for run in runs[2 * n : 2 * n + 2]]) for n in (1, 2, 0)]
        assert table.data["UAR"].tolist() == pytest.approx(reached)
        inflation = table.data["UAR inflation"].tolist()
        assert np.isnan(inflation[0])
        assert inflation[1:] == pytest.approx([100 * (other - reached[0]) for other in reached[1:]])
        assert table.text()["UAR inflation"][1] == f"{inflation[1]:+.1f}"

    def test_different_networks_are_not_compared(self, a_run):
        runs = [
            a_run("a", {"backbone": "vgg16"}, split="subject"),
            a_run("b", {"backbone": "lenet"}, split="random_frames", level="leaky"),
        ]
        assert leak_table(find_systems(runs)[0]) is None

    def test_single_split_has_no_table(self, a_run, one):
        assert leak_table([one()]) is None
        runs = [a_run(str(value), {"split.val": value}) for value in (0.1, 0.2)]
        assert leak_table(find_systems(runs)[0]) is None

    def test_splits_of_the_same_level_have_no_table(self, a_run):
        runs = [a_run(split, split=split, skill=skill) for split, skill in (("subject", 0.2), ("loso", 2.0))]
        assert leak_table(find_systems(runs)[0]) is None

    def test_split_that_leaks_for_some_seeds_is_not_the_reference(self, a_run):
        levels = ("leaky", "subject-independent")
        runs = [a_run(f"a{n}", split="predefined", seed=n, level=level) for n, level in enumerate(levels)]
        runs.append(a_run("b", split="subject"))
        table = leak_table(find_systems(runs)[0])
        assert table.data["split"].tolist() == ["subject", "predefined"]


class TestParts:
    @pytest.mark.parametrize("absent", [[], ["sad"]])
    def test_class_table_agrees_with_scikit_learn(self, folds, one, absent):
        systems = [*folds(a=1.0), one(absent=absent)]
        data = class_table(systems).data
        for system in systems:
            rows = data[data["system"] == system.name]
            assert rows["emotion"].tolist() == NAMES
            true, predicted = system.frames["label"], system.frames["predicted"]
            expected = precision_recall_fscore_support(true, predicted, labels=NAMES, zero_division=np.nan)
            precision, recall, f1, counts = (np.asarray(values, dtype=float) for values in expected)
            assert rows["precision"].to_numpy() == pytest.approx(precision, nan_ok=True)
            assert rows["recall"].to_numpy() == pytest.approx(recall, nan_ok=True)
            assert rows["F1"].to_numpy() == pytest.approx(f1, nan_ok=True)
            assert rows["frames"].tolist() == counts.tolist()

    def test_emotion_never_predicted(self, one):
        system = one(edit=lambda table: table.assign(predicted=table["predicted"].replace("sad", "happy")))
        row = class_table([system]).text().iloc[2]
        assert (row["recall"], row["precision"], row["F1"]) == ("0.0%", "", "0.0%")

    def test_groups(self, folds):
        systems = folds(a=1.0)
        frames = systems[0].frames
        assert grouping_columns(frames) == ["sex", "intensity", "spectacles"]  # not the position of the face
        data = group_table(systems).data
        assert list(zip(data["by"], data["value"], strict=True)) == [
            *(("sex", "female"), ("sex", "male"), ("intensity", "1"), ("intensity", "2")),
            *(("spectacles", "False"), ("spectacles", "True")),
        ]
        women = frames[frames["sex"] == "female"]
        row = data.iloc[0]
        assert (row["subjects"], row["frames"]) == (6, len(women))
        assert row["UAR frames"] == pytest.approx(uar(women["label"], women["predicted"]))
        assert row["WAR frames"] == pytest.approx((women["label"] == women["predicted"]).mean())
        assert row["UAR clips"] == pytest.approx(uar(*by_clip(women)))

    @pytest.mark.parametrize(("values", "kept"), [([1, 2, 3], True), ([1.0, None, 2.0], True), ([0.5, 1, 2], False)])
    def test_codes_are_groups_and_measurements_are_not(self, one, values, kept):
        system = one(edit=lambda table: table.assign(code=np.resize(np.array(values, dtype=object), len(table))))
        assert ("code" in grouping_columns(system.frames)) == kept

    def test_constant_and_many_valued_columns_are_not_groups(self, one):
        system = one(edit=lambda table: table.assign(one="x", many=np.arange(len(table)) % 13))
        assert not {"one", "many"} & set(grouping_columns(system.frames))

    def test_no_groups(self, one):
        assert group_table([one(without=["sex", "intensity", "spectacles"])]) is None

    def test_subjects(self, folds):
        systems = folds(a=1.0, b=0.2)
        data = subject_table(systems).data
        assert data["subject"].tolist() == [f"{person:02}" for person in range(12)] * 2
        for system in systems:
            for _, row in data[data["system"] == system.name].iterrows():
                own = system.frames[system.frames["subject"] == row["subject"]]
                assert row["frames"] == len(own) == 12
                assert row["UAR frames"] == pytest.approx(uar(own["label"], own["predicted"]))
                assert row["WAR frames"] == pytest.approx((own["label"] == own["predicted"]).mean())

    def test_unknown_subjects(self, one):
        assert subject_table([one(known=False)]) is None
        assert group_table([one("b", known=False)]).data["subjects"].isna().all()


class TestTests:
    def test_each_pair(self, folds):
        systems = folds(a=2.0, b=0.8, c=0.7)
        data = paired_tests(systems, 1, **KEYS).data
        assert list(zip(data["A"], data["B"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
        right = {system.name: np.equal(*map(np.array, by_clip(system.frames))) for system in systems}
        reached = {system.name: np.array([uar(*by_clip(run.predictions)) for run in system.runs]) for system in systems}
        expected = []
        for one, other in combinations("abc", 2):
            only = [(right[one] & ~right[other]).sum(), (right[other] & ~right[one]).sum()]
            differences = reached[one] - reached[other]
            # Each fold trains on four times as many frames as it tests.
            t = differences.mean() / np.sqrt(differences.var(ddof=1) * (1 / 3 + 1 / 4))
            expected.append(
                [
                    *(len(right[one]), *only, stats.binomtest(int(only[0]), int(sum(only))).pvalue),
                    2 * stats.t.sf(abs(t), 2),
                ]
            )
            ahead = points(data["UAR clips, A - B"][len(expected) - 1])
            drawn = [
                bootstrap_scores(run_confusions(each.clips_by_run, NAMES, "subject"), **KEYS)["uar"]
                for each in systems
                if each.name in (one, other)
            ]
            ends = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
            assert ahead == pytest.approx(100 * np.array([differences.mean(), *ends]), abs=0.0501)
        columns = ["clips", "only A correct", "only B correct", "McNemar p", "t test p"]
        assert data[columns].to_numpy(dtype=float) == pytest.approx(np.array(expected))
        for name in ("McNemar p", "t test p"):
            assert data[f"{name}, Holm"].to_numpy() == pytest.approx(multipletests(data[name], method="holm")[1])
        assert data["McNemar p, Holm"].iloc[0] > data["McNemar p"].iloc[0]

    def test_seeds_are_averaged_per_clip(self, a_run):
        runs = [a_run(f"{n} {s}", {"backbone": n}, seed=s, skill=0.7) for n in ("a", "b") for s in range(3)]
        systems = find_systems(runs)[0]
        row = paired_tests(systems, 1, **KEYS).data.iloc[0]
        right = [np.equal(*map(np.array, by_clip(system.frames))) for system in systems]
        assert row["clips"] == 36
        assert row["only A correct"] == (right[0] & ~right[1]).sum()
        assert row["only B correct"] == (right[1] & ~right[0]).sum()
        differences = [
            one.results["metrics"]["test/clip_uar"] - other.results["metrics"]["test/clip_uar"]
            for one, other in zip(runs[:3], runs[3:], strict=True)
        ]
        assert points(row["UAR clips, A - B"])[0] == pytest.approx(100 * np.mean(differences), abs=0.0501)

    def test_single_runs_have_no_t_test(self, a_run):
        systems = find_systems([a_run(name, {"backbone": name}) for name in ("a", "b")])[0]
        table = paired_tests(systems, 1, **KEYS)
        assert not [name for name in table.data if "t test" in name]
        assert not any("t test" in note for note in table.notes)
        assert table.data["McNemar p, Holm"][0] == table.data["McNemar p"][0]

    def test_different_seeds_have_no_t_test(self, a_run):
        runs = [
            a_run(f"{n} {s}", {"backbone": n}, seed=s) for n, seeds in (("a", (0, 1)), ("b", (1, 2))) for s in seeds
        ]
        assert "t test p" not in paired_tests(find_systems(runs)[0], 1, **KEYS).data

    def test_holm_ignores_pairs_without_a_t_test(self, a_run):
        seeds = {"a": (0, 1, 2), "b": (0, 1, 2), "c": (0,)}
        runs = [
            a_run(f"{n} {s}", {"backbone": n}, seed=s, skill=2.0 if n == "a" else 0.5) for n in seeds for s in seeds[n]
        ]
        data = paired_tests(find_systems(runs)[0], 1, **KEYS).data
        assert data["t test p"].notna().tolist() == [True, False, False]
        assert data["t test p, Holm"][0] == data["t test p"][0]

    def test_a_single_system(self, one):
        assert paired_tests([one()], 1, **KEYS) is None


class TestCalibration:
    def test_temperature_is_fitted_on_validation(self, one):
        system = one(sharpness=3.0, val_sharpness=6.0, subjects=range(30))
        row = calibration_table([system]).data.iloc[0]
        (run,) = system.runs
        (val, of_val), (test, of_test) = (
            (table[CHANCES].to_numpy(), pd.Index(NAMES).get_indexer(table["label"]))
            for table in (run.validation, run.predictions)
        )
        temperature = fit_temperature(val, of_val)
        assert row["temperature"] == pytest.approx(temperature)
        assert temperature > 1.3 * fit_temperature(test, of_test)
        scaled = apply_temperature(test, temperature)
        assert row["NLL"] == pytest.approx(log_loss(of_test, test))
        assert row["NLL scaled"] == pytest.approx(log_loss(of_test, scaled))
        assert row["ECE"] == pytest.approx(expected_calibration_error(test, of_test))
        assert row["ECE scaled"] == pytest.approx(expected_calibration_error(scaled, of_test))
        before, after, labels = scaled_probabilities(system)
        assert (before == test).all()
        assert after == pytest.approx(scaled)
        assert (labels == of_test).all()

    def test_each_fold_has_its_own_temperature(self, a_run):
        runs = [a_run(str(fold), fold=fold, val_sharpness=s) for fold, s in enumerate((1.0, 9.0))]
        (system,) = find_systems(runs)[0]
        alone = [calibration_table([find_systems([run])[0][0]]).data.iloc[0] for run in runs]
        assert alone[1]["temperature"] > 2 * alone[0]["temperature"]
        row = calibration_table([system]).data.iloc[0]
        for name in ("ECE", "ECE scaled", "NLL", "NLL scaled"):
            assert row[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2), name
        assert row["temperature"] == pytest.approx(np.sqrt(alone[0]["temperature"] * alone[1]["temperature"]))
        parts = [scaled_probabilities(find_systems([run])[0][0])[1] for run in runs]
        assert (scaled_probabilities(system)[1] == np.concatenate(parts)).all()

    def test_confident_and_wrong_predictions_are_finite(self, one):
        system = one(sharpness=5000.0)
        row = calibration_table([system]).data.iloc[0]
        assert np.isfinite(row[["ECE", "NLL", "NLL scaled"]].to_numpy(dtype=float)).all()


class TestOther:
    def test_reasons_why_sets_are_incomparable(self, a_run):
        chosen = [("a", range(6), NAMES), ("b", range(3, 9), NAMES), ("c", range(6), ["sad", "happy"])]
        systems = find_systems([a_run(n, {"backbone": n}, subjects=p, class_names=c) for n, p, c in chosen])[0]
        data = incomparable_table(comparable(systems)).data
        assert data["sets"].tolist() == ["1 and 2", "1 and 3", "2 and 3"]
        assert data["reason"][0] == "different test rows: 36 and 36 clips, 18 of them in both"
        assert data["reason"][1] == "different emotions: angry in only one of the two"

    def test_comparable_systems_have_no_table(self, folds):
        assert incomparable_table(comparable(folds(a=1.0, b=0.5))) is None

    def test_every_folder_is_listed(self, a_run, tmp_path):
        runs = [a_run("0", seed=3), a_run("1", seed=3), a_run("2", {"backbone": "lgbp"}, trained=False)]
        runs[1].results["warnings"] = ["Few subjects.", "Few clips."]
        systems, _, duplicates = find_systems(runs)
        table = run_table(systems, duplicates, {tmp_path / "3": "the run is not finished"})
        text = table.text()
        assert text["folder"].tolist() == [str(tmp_path / name) for name in ("1", "2", "0", "3")]
        assert text["remark"].tolist() == [
            "Few subjects. Few clips.",
            "",
            "skipped: another run has the same settings, seed and data",
            "skipped: the run is not finished",
        ]
        assert text["seed"].tolist() == ["3", "0", "", ""]
        assert text["best epoch"].tolist() == ["2", "", "", ""]
        assert text["seconds"].tolist() == ["61", "61", "", ""]
        assert "fold" not in text

    def test_tidy(self, folds):
        systems = folds(a=1.0, b=0.5)
        data = tidy(systems)
        where = ["run", "level", "by", "value", "metric"]
        assert not data.duplicated(where).any()
        assert data.columns.tolist() == [
            *(
                "run",
                "system",
                "backbone",
                "seed",
                "fold",
                "leakage",
                "level",
                "by",
                "value",
                "frames",
                "metric",
                "score",
            )
        ]
        levels = ["frames", "clips, mean", "clips, majority", "clips, confidence"]
        assert data["level"].unique().tolist() == levels
        assert set(data["by"]) == {"all", "emotion", "subject", "sex", "intensity", "spectacles"}
        # 2 x 3 runs, 4 levels: 3 scores of all, 4 subjects, 2 sexes, 2 intensities, 2 of spectacles; 2 of 3 emotions
        assert len(data) == 6 * 4 * (3 * (1 + 4 + 2 + 2 + 2) + 2 * 3)
        run = systems[0].runs[1]
        rows = data[data["run"] == str(run.folder)].set_index(where[1:])
        assert set(rows["fold"]) == {1}
        frames = run.predictions
        assert rows.loc[("frames", "all", "", "uar"), "score"] == pytest.approx(
            uar(frames["label"], frames["predicted"])
        )
        for rule in RULES:
            here = rows.loc[(f"clips, {rule}", "all", "", "uar")]
            assert (here["score"], here["frames"]) == (pytest.approx(uar(*by_clip(frames, rule))), 24)
        own = frames[frames["subject"] == "05"]
        expected = f1_score(own["label"], own["predicted"], labels=sorted(set(own["label"])), average="macro")
        assert rows.loc[("frames", "subject", "05", "f1"), "score"] == pytest.approx(expected)
        precision, recall, _, counts = precision_recall_fscore_support(
            frames["label"], frames["predicted"], labels=NAMES
        )
        for number, name in enumerate(NAMES):
            assert rows.loc[("frames", "emotion", name, "recall"), "score"] == pytest.approx(recall[number])
            assert rows.loc[("frames", "emotion", name, "precision"), "score"] == pytest.approx(precision[number])
            assert rows.loc[("frames", "emotion", name, "recall"), "frames"] == counts[number]

    def test_tidy_agrees_with_the_tables(self, one):
        system = one()
        rows = tidy([system]).set_index(["level", "by", "value", "metric"])["score"]
        for _, row in subject_table([system]).data.iterrows():
            assert rows["frames", "subject", row["subject"], "uar"] == pytest.approx(row["UAR frames"])
        for _, row in group_table([system]).data.iterrows():
            assert rows["frames", row["by"], row["value"], "accuracy"] == pytest.approx(row["WAR frames"])
            assert rows["clips, mean", row["by"], row["value"], "uar"] == pytest.approx(row["UAR clips"])
        for _, row in class_table([system]).data.iterrows():
            assert rows["frames", "emotion", row["emotion"], "recall"] == pytest.approx(row["recall"])

    def test_number_of_frames_is_not_a_group(self, one):
        system = one(edit=lambda table: table[(table["frame"] == 0) | (table["sex"] == "male")])
        assert "frames" not in set(tidy([system])["by"])

    def test_tidy_agrees_with_results_json(self, one):
        system = one()
        confusion = np.array(system.runs[0].results["confusion"])
        rows = tidy([system]).set_index(["level", "by", "value", "metric"])["score"]
        for name, value in scores(confusion).means().items():
            assert rows["frames", "all", "", name] == pytest.approx(value)
            assert value == pytest.approx(system.runs[0].results["metrics"][f"test/{name}"])
