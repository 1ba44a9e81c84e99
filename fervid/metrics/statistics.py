"""Confidence intervals of scores and paired tests of systems."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from fervid.errors import InputError
from fervid.metrics.aggregation import class_indices
from fervid.metrics.scores import scores
from fervid.schema.columns import Role, keys, role

MIN_KNOWN = 0.95  # fraction of the resamples that must have a score for an interval
MAX_BLOCK_VALUES = 2**22  # draws per block of resamples: 32 MiB


def bootstrap_unit(predictions: pd.DataFrame) -> str:
    """Returns the unit to resample for intervals: ``subject`` if all subjects are known, otherwise ``clip``.

    Args:
        predictions: one row per frame or clip.
    """
    return "subject" if "subject" in predictions and predictions["subject"].notna().all() else "clip"


def run_confusions(predictions: pd.DataFrame, class_names: list[str], unit: str) -> np.ndarray:
    """Computes a confusion matrix for each run and each unit, such as each subject.

    Rows with a missing unit are dropped, because frames of unknown subjects cannot be grouped.

    Args:
        predictions: one row per frame or clip, with ``label``, ``predicted`` and the number of the ``run``, from 0.
        class_names: the C emotions.
        unit: column that identifies the units, such as ``subject`` or ``clip``; units of different corpora are
            distinct.

    Returns:
        Counts (R, S, C, C); rows are labels, columns predictions. The S units are sorted by name, so that systems
        tested on the same rows have their units in the same order.

    Raises:
        InputError: if the column does not exist or an emotion is unknown.
    """
    known, units, (runs, count) = _numbered_units(predictions, unit)
    shape = (runs, count, len(class_names), len(class_names))
    true, predicted = (class_indices(predictions.loc[known, column], class_names) for column in ("label", "predicted"))
    cells = np.ravel_multi_index((predictions.loc[known, "run"].to_numpy(dtype=int), units, true, predicted), shape)
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)


def unit_sums(predictions: pd.DataFrame, statistics: np.ndarray, unit: str) -> np.ndarray:
    """Adds the statistics of the rows of each run and each unit, such as each subject.

    Rows with a missing unit are dropped, because frames of unknown subjects cannot be grouped.

    Args:
        predictions: one row per frame or clip, with the number of the ``run``, from 0.
        statistics: statistics (N, ...) of the rows.
        unit: as for :func:`run_confusions`.

    Returns:
        Sums (R, S, ...); the S units are sorted by name.

    Raises:
        InputError: if the column does not exist.
    """
    known, units, shape = _numbered_units(predictions, unit)
    sums = np.zeros((*shape, *statistics.shape[1:]))
    np.add.at(sums, (predictions.loc[known, "run"].to_numpy(dtype=int), units), statistics[known])
    return sums


def _numbered_units(predictions: pd.DataFrame, unit: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Returns which rows have a unit, the number of the unit of each of these, and the numbers of runs and units."""
    if unit not in predictions:
        raise InputError(
            f"unit={unit} is not a column of the predictions: choose one of {', '.join(map(str, predictions))}."
        )
    names = keys(predictions, unit) if role(unit) is Role.KEY else predictions[unit]
    known = names.notna().to_numpy()
    units, values = pd.factorize(names[known].astype(str), sort=True)
    runs = int(predictions["run"].max()) + 1 if len(predictions) else 1
    return known, units, (runs, len(values))


def bootstrap_intervals(
    confusions: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Computes bootstrap percentile intervals of the scores over subjects (Efron & Tibshirani 1993, section 13.3).

    Args:
        confusions: counts as for :func:`bootstrap_scores`.
        level: confidence level.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        The lower and upper limits of ``accuracy``, ``uar`` and ``f1``; NaN for fewer than two units.

    Raises:
        InputError: if the level is not between 0 and 1.

    Examples:
        >>> import numpy as np
        >>> by_subject = np.array([[[9, 1], [2, 8]], [[6, 4], [5, 5]], [[10, 0], [1, 9]]])  # 3 subjects, 2 emotions
        >>> low, high = bootstrap_intervals(by_subject)["uar"]
        >>> print(f"{low:.2f} to {high:.2f}")
        0.55 to 0.95
    """
    drawn = bootstrap_scores(confusions, resamples=resamples, seed=seed)
    return {name: percentile_interval(values, level) for name, values in drawn.items()}


def bootstrap_scores(confusions: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    """Computes the scores of bootstrap samples of units, such as subjects.

    Units are resampled instead of frames, because frames of one subject are correlated and intervals over frames would
    be too narrow.

    Args:
        confusions: counts (S, C, C), one matrix per unit, or (R, S, C, C) of R runs from :func:`run_confusions`. The
            scores of the runs are averaged; all runs use the same resamples. Units without frames are dropped. A run
            without frames in a resample is excluded from its mean.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        Arrays (resamples,) of ``accuracy``, ``uar`` and ``f1`` (see :class:`fervid.metrics.scores.Scores`). Emotions
        that do not occur in a resample are excluded from its means. NaN for fewer than two units.
    """
    confusions = np.asarray(confusions, dtype=float)

    def by_name(counts: np.ndarray) -> dict[str, np.ndarray]:
        drawn = scores(counts)
        return {"accuracy": drawn.accuracy, "uar": drawn.uar, "f1": drawn.macro_f1}

    return bootstrap(confusions if confusions.ndim > 3 else confusions[None], by_name, resamples=resamples, seed=seed)


def bootstrap(
    sums: np.ndarray,
    scores_of: Callable[[np.ndarray], dict[str, np.ndarray]],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Computes scores of bootstrap samples of units from statistics that can be added, as :func:`bootstrap_scores`.

    Args:
        sums: statistics (R, S, ...) of R runs and S units; a unit without samples has only zeros.
        scores_of: function that computes scores of shape (...) by their names from added statistics (..., ...).
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        Arrays (resamples,) of each score. NaN for fewer than two units.
    """
    sums = sums[:, sums.any(axis=(0, *range(2, sums.ndim)))]
    units = sums.shape[1]
    if units < 2:
        return {name: np.full(resamples, np.nan) for name in scores_of(sums.sum(axis=(0, 1)))}
    # The sum of the statistics depends only on how often each unit is drawn.
    rng, probabilities = np.random.default_rng(seed), np.full(units, 1 / units)
    # Resamples are drawn in blocks: with unknown subjects there may be a million clips.
    block = max(1, MAX_BLOCK_VALUES // units)
    blocks = [
        np.tensordot(
            rng.multinomial(units, probabilities, size=min(block, resamples - done)).astype(float),
            sums,
            axes=(1, 1),
        )
        for done in range(0, resamples, block)
    ]
    by_run = scores_of(np.concatenate(blocks))  # (resamples, R) each
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")  # of a resample in which no run has the score
        return {name: np.nanmean(values, axis=1) for name, values in by_run.items()}


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Returns the percentile interval of bootstrap scores; NaN if more than 5% of the scores are NaN.

    Single resamples may have no score, for example if they lack a rare action unit; they are omitted.

    Args:
        values: scores from :func:`bootstrap_scores`, or the paired difference of two with the same units and seed.
        level: confidence level.

    Raises:
        InputError: if the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level={level} is out of range: use a number between 0 and 1, such as 0.95.")
    known = values[~np.isnan(values)]
    if len(known) < MIN_KNOWN * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> tuple[int, int, float]:
    """Tests whether two systems are correct equally often on the same clips (McNemar 1947; exact binomial test).

    The test assumes independent clips; several clips of one subject are not independent.

    Args:
        correct_a: whether the first system is correct on each clip, bool (N,).
        correct_b: the same for the second system.

    Returns:
        The number of clips that only the first and only the second system classifies correctly, and the two-sided
        p-value.

    Raises:
        InputError: if the numbers of clips differ.

    Examples:
        >>> first, second = [True] * 6 + [False] * 4, [True] + [False] * 9
        >>> only_first, only_second, p = mcnemar(first, second)
        >>> print(only_first, only_second, round(p, 3))
        5 0 0.062
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise InputError(
            f"{a.size} and {b.size} clips cannot be paired: pass the results of both systems on the same clips."
        )
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    table = [[int((a & b).sum()), only_a], [only_b, int((~a & ~b).sum())]]
    return only_a, only_b, float(contingency_tables.mcnemar(table, exact=True).pvalue)


def corrected_t(
    differences: Sequence[float] | np.ndarray, *, train: int | Sequence[int], test: int | Sequence[int]
) -> tuple[float, float]:
    """Computes the corrected resampled t-test (Nadeau & Bengio 2003).

    The training sets of k folds or repetitions overlap, so the differences between two systems are not independent. The
    variance of their mean is therefore taken as s^2 * (1 / k + n_test / n_train) instead of s^2 / k.

    Args:
        differences: differences between the scores of two systems, shape (k,).
        train: size of the training set; one number, or k numbers.
        test: size of the test set, in the same unit. If sizes differ, the mean of the k ratios is used.

    Returns:
        t and the two-sided p-value, with k - 1 degrees of freedom. If all differences are equal, returns (0, 1) if they
        are zero, and otherwise an infinite t and p = 0.

    Raises:
        InputError: if there are fewer than two differences, or the sizes are invalid.

    Examples:
        >>> t, p = corrected_t([0.04, 0.01, 0.05, 0.03, 0.02], train=80, test=20)  # 5 folds
        >>> print(f"t = {t:.2f}, p = {p:.3f}")
        t = 2.83, p = 0.047
    """
    values = np.asarray(differences, dtype=float)
    k = len(values)
    if k < 2:
        raise InputError(f"{k} difference(s) cannot be tested: pass those of at least two folds or repetitions.")
    trains, tests = np.asarray(train, dtype=float), np.asarray(test, dtype=float)
    if any(sizes.shape not in ((), (k,)) or (sizes <= 0).any() for sizes in (trains, tests)):
        raise InputError(
            f"train={train} and test={test} are invalid for {k} differences: pass one positive number or {k}."
        )
    mean = values.mean()
    # The computed variance of equal numbers may not be exactly zero.
    if np.ptp(values) == 0:
        return (0.0, 1.0) if mean == 0 else (float(np.copysign(np.inf, mean)), 0.0)
    t = mean / np.sqrt(values.var(ddof=1) * (1 / k + (tests / trains).mean()))
    return float(t), float(2 * stats.t.sf(abs(t), k - 1))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusts p-values for multiple testing (Holm 1979).

    Args:
        p_values: p-values of m tests, shape (m,); NaN for a test that could not be computed.

    Returns:
        The adjusted p-values in the same order. NaN stays NaN and is not counted as a test.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p_values, dtype=float)
    valid = ~np.isnan(adjusted)
    # Statsmodels before 0.15 divides by the number of p-values, which may be 0.
    if valid.any():
        adjusted[valid] = multipletests(adjusted[valid], method="holm")[1]
    return adjusted
