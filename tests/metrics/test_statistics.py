import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from fervid.errors import InputError
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_intervals, corrected_t, holm, mcnemar, run_confusions

NAMES = ["happy", "angry", "sad"]


def random_table(seed, frames=150, subjects=8):
    rng = np.random.default_rng(seed)
    columns = {"subject": rng.choice([f"{number:02}" for number in range(subjects)], frames)}
    return pd.DataFrame({**columns, "label": rng.choice(NAMES, frames), "predicted": rng.choice(NAMES, frames)})


def random_confusions(seed, units=12):
    """Subjects with different accuracies; only one of them is ever sad."""
    rng = np.random.default_rng(seed)
    confusions = np.zeros((units, 3, 3), dtype=int)
    for number, rate in enumerate(rng.uniform(0.2, 0.9, units)):
        for true in (0, 1, 2) if number == 0 else (0, 1):
            chances = np.full(3, (1 - rate) / 2)
            chances[true] = rate
            confusions[number, true] = rng.multinomial(rng.integers(5, 40), chances)
    return confusions


def unit_confusions(table, names, unit):
    """Confusion matrices of a single run."""
    (confusions,) = run_confusions(table.assign(run=0), names, unit)
    return confusions


class TestUnits:
    def test_runs_and_units_are_separate(self):
        tables = [random_table(seed) for seed in (0, 1)]
        together = pd.concat([table.assign(run=run) for run, table in enumerate(tables)])
        confusions = run_confusions(together.sample(frac=1, random_state=0), NAMES, "subject")
        subjects = sorted(set(together["subject"]))
        assert confusions.shape == (2, len(subjects), 3, 3)
        for run, table in enumerate(tables):
            for number, person in enumerate(subjects):
                rows = table[table["subject"] == person]
                expected = confusion_matrix(rows["label"], rows["predicted"], labels=NAMES) if len(rows) else 0
                assert (confusions[run, number] == expected).all()

    @pytest.mark.parametrize("seed", range(4))
    def test_each_unit_agrees_with_scikit_learn(self, seed):
        table = random_table(seed)
        confusions = unit_confusions(table, NAMES, "subject")
        subjects = sorted(table["subject"].unique())
        assert confusions.shape == (len(subjects), 3, 3)
        for counts, person in zip(confusions, subjects, strict=True):
            rows = table[table["subject"] == person]
            assert (counts == confusion_matrix(rows["label"], rows["predicted"], labels=NAMES)).all()

    def test_unknown_subjects_are_dropped(self):
        table = random_table(0)
        table.index = table.index[::-1]
        table.loc[table["subject"] == "03", "subject"] = None
        known = table[table["subject"].notna()]
        confusions = unit_confusions(table, NAMES, "subject")
        assert len(confusions) == 7
        assert (confusions.sum(axis=0) == confusion_matrix(known["label"], known["predicted"], labels=NAMES)).all()

    @pytest.mark.parametrize("table", [random_table(0).assign(subject=None), random_table(0)[:0]])
    def test_no_known_subjects(self, table):
        confusions = unit_confusions(table, NAMES, "subject")
        assert confusions.shape == (0, 3, 3)
        assert np.isnan(bootstrap_intervals(confusions)["uar"]).all()

    def test_unknown_unit(self):
        with pytest.raises(InputError, match="unit=person is not a column of the predictions: choose one of subject"):
            unit_confusions(random_table(0), NAMES, "person")

    def test_unknown_emotion(self):
        with pytest.raises(InputError, match="contain sad"):
            unit_confusions(random_table(0), NAMES[:2], "subject")


class TestBootstrap:
    @pytest.mark.parametrize(("seed", "level"), [(0, 0.95), (1, 0.95), (2, 0.8)])
    def test_intervals_agree_with_scipy(self, seed, level):
        confusions = random_confusions(seed)
        intervals = bootstrap_intervals(confusions, level=level, resamples=20000, seed=seed)

        def all_scores(chosen):
            return np.array(list(scores(confusions[chosen].sum(axis=0)).means().values()))

        result = stats.bootstrap(
            (np.arange(len(confusions)),),
            lambda chosen, axis: np.apply_along_axis(all_scores, -1, chosen).T,
            n_resamples=4000,
            confidence_level=level,
            method="percentile",
            random_state=np.random.default_rng(seed),
        )
        for name, low, high in zip(scores(confusions[0]).means(), *result.confidence_interval, strict=True):
            # Several standard errors of a quantile of 4000 draws.
            assert intervals[name] == pytest.approx((low, high), abs=0.06 * (high - low)), name

    @pytest.mark.parametrize("seed", range(5))
    def test_two_units_by_hand(self, seed):
        # A resample is twice the first unit, both, or twice the second; each occurs in at least a quarter of the draws.
        confusions = random_confusions(seed, units=2)  # only one of the two is ever sad
        possible = [scores(confusions[list(pair)].sum(axis=0)).means() for pair in ((0, 0), (0, 1), (1, 1))]
        for name, interval in bootstrap_intervals(confusions, level=0.9).items():
            values = [result[name] for result in possible]
            assert interval == pytest.approx((min(values), max(values))), name

    def test_units_are_resampled_not_frames(self):
        confusions = random_confusions(0)
        low, high = bootstrap_intervals(confusions)["uar"]
        more_frames_low, more_frames_high = bootstrap_intervals(confusions * 100)["uar"]
        assert (low, high) == pytest.approx((more_frames_low, more_frames_high))
        more_people_low, more_people_high = bootstrap_intervals(np.repeat(confusions[1:], 9, axis=0))["accuracy"]
        low, high = bootstrap_intervals(confusions[1:])["accuracy"]
        assert more_people_high - more_people_low == pytest.approx((high - low) / 3, rel=0.15)

    def test_seed_determines_the_resamples(self):
        confusions = random_confusions(0)
        assert bootstrap_intervals(confusions, seed=1) == bootstrap_intervals(confusions, seed=1)
        assert bootstrap_intervals(confusions, seed=1) != bootstrap_intervals(confusions, seed=2)

    def test_one_unit_has_no_interval(self):
        intervals = bootstrap_intervals(random_confusions(0)[:1])
        assert intervals.keys() == scores(np.eye(3)).means().keys()
        assert np.isnan(list(intervals.values())).all()

    def test_units_without_frames_are_dropped(self):
        confusions = random_confusions(0)
        padded = np.concatenate([confusions, np.zeros((5, 3, 3))])
        assert bootstrap_intervals(padded) == bootstrap_intervals(confusions)
        assert np.isnan(bootstrap_intervals(padded[-6:])["accuracy"]).sum() == 2

    @pytest.mark.parametrize("level", [0, 1, 95])
    def test_level_out_of_range(self, level):
        with pytest.raises(InputError, match=f"level={level} is out of range"):
            bootstrap_intervals(random_confusions(0), level=level)


class TestMcNemar:
    @pytest.mark.parametrize("seed", range(5))
    def test_agrees_with_the_binomial_test_of_scipy(self, seed):
        rng = np.random.default_rng(seed)
        correct_a, correct_b = rng.random(80) < 0.7, rng.random(80) < 0.55
        only_a, only_b, p = mcnemar(correct_a, correct_b)
        assert only_a == sum(1 for a, b in zip(correct_a, correct_b, strict=True) if a and not b)
        assert only_b == sum(1 for a, b in zip(correct_a, correct_b, strict=True) if b and not a)
        assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
        assert mcnemar(correct_b, correct_a) == (only_b, only_a, pytest.approx(p))

    def test_by_hand(self):
        correct_a = np.array([True] * 6 + [False] * 2)
        correct_b = np.array([True] + [False] * 6 + [True])
        assert mcnemar(correct_a, correct_b) == (5, 1, pytest.approx(2 * (1 + 6) / 2**6))

    @pytest.mark.parametrize("size", [0, 9])
    def test_identical_systems(self, size):
        right = np.arange(size) % 2 == 0
        assert mcnemar(right, right) == (0, 0, 1.0)

    def test_different_numbers_of_clips(self):
        with pytest.raises(InputError, match="3 and 4 clips cannot be paired"):
            mcnemar(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


class TestCorrectedT:
    @pytest.mark.parametrize("seed", range(4))
    def test_without_overlap_agrees_with_scipy(self, seed):
        differences = np.random.default_rng(seed).normal(0.02, 0.05, 10)
        plain = stats.ttest_1samp(differences, 0)
        assert corrected_t(differences, train=10**15, test=1) == pytest.approx((plain.statistic, plain.pvalue))
        t, p = corrected_t(differences, train=900, test=100)
        assert t == pytest.approx(plain.statistic * np.sqrt((1 / 10) / (1 / 10 + 1 / 9)))
        assert p > plain.pvalue
        assert corrected_t(-differences, train=900, test=100) == pytest.approx((-t, p))

    def test_by_hand(self):
        t = 2 / np.sqrt(1 * (1 / 3 + 1 / 2))  # mean 2, variance 1
        p = 1 - t / np.sqrt(2 + t**2)  # Student's distribution with two degrees of freedom
        assert corrected_t([1, 2, 3], train=20, test=10) == pytest.approx((t, p))

    def test_sizes_per_fold(self):
        differences = [0.1, 0.3, -0.1]
        one = corrected_t(differences, train=80, test=20)
        assert corrected_t(differences, train=[80, 80, 80], test=[20, 20, 20]) == pytest.approx(one)
        uneven = corrected_t(differences, train=[10, 20, 40], test=[20, 20, 20])  # ratios 2, 1 and 1/2
        assert uneven == pytest.approx(corrected_t(differences, train=6, test=7))

    def test_no_difference(self):
        assert corrected_t([0.0] * 5, train=80, test=20) == (0.0, 1.0)

    @pytest.mark.parametrize("difference", [0.1, -0.1])
    def test_constant_difference(self, difference):
        assert corrected_t([difference] * 3, train=80, test=20) == (np.copysign(np.inf, difference), 0.0)

    @pytest.mark.parametrize("differences", [[], [0.1]])
    def test_too_few(self, differences):
        with pytest.raises(InputError, match="cannot be tested"):
            corrected_t(differences, train=80, test=20)

    @pytest.mark.parametrize(("train", "test"), [(0, 20), (80, -1), ([80, 80], 20), (80, [20, 20, 0])])
    def test_invalid_sizes(self, train, test):
        with pytest.raises(InputError, match="are invalid for 3 differences"):
            corrected_t([0.1, 0.2, 0.3], train=train, test=test)


class TestHolm:
    def test_by_hand(self):
        assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
        assert holm([0.5, 0.6]) == pytest.approx([1, 1])

    @pytest.mark.parametrize("seed", range(4))
    def test_agrees_with_the_definition(self, seed):
        p_values = np.random.default_rng(seed).uniform(0, 0.3, 9)
        # Running maximum of the products, at most 1.
        products = np.sort(p_values) * np.arange(9, 0, -1)
        expected = [min(1, products[: (p_values <= p).sum()].max()) for p in p_values]
        assert holm(p_values) == pytest.approx(expected)

    def test_missing_p_values_are_not_counted(self):
        p_values = np.array([np.nan, 0.04, 0.01, np.nan, 0.03])
        assert holm(p_values) == pytest.approx([np.nan, 0.06, 0.03, np.nan, 0.06], nan_ok=True)
        assert p_values[1] == 0.04  # the input is unchanged

    def test_nothing_to_adjust(self):
        assert holm([]).shape == (0,)
        assert np.isnan(holm([np.nan, np.nan])).tolist() == [True, True]
