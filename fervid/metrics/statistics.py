"""How sure a score is, and whether one system is better than another."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from fervid.errors import InputError
from fervid.metrics.aggregation import class_indices
from fervid.metrics.scores import scores
from fervid.schema.columns import Role, keys, role

MAX_BLOCK_VALUES = 2**22  # numbers of a block of resamples: 32 MiB


def bootstrap_unit(predictions: pd.DataFrame) -> str:
    """The column whose values are resampled for intervals: ``subject`` where everyone is known, else ``clip``.

    Args:
        predictions: one row a frame or clip.
    """
    return "subject" if "subject" in predictions and predictions["subject"].notna().all() else "clip"


def run_confusions(predictions: pd.DataFrame, class_names: list[str], unit: str) -> np.ndarray:
    """Counts each pair of a true and a predicted emotion, for each run and person or clip by itself.

    Rows whose unit is missing are left out: of frames of unknown people none can say which belong together.

    Args:
        predictions: one row a frame or clip, with ``label``, ``predicted`` and the number of the ``run``, from 0.
        class_names: the C emotions.
        unit: the column that names the units, such as ``subject`` or ``clip``; these are told apart by corpus, too.

    Returns:
        Counts (R, S, C, C), a row a true emotion, a column a predicted one; the S units in the order of their names, so
        that those of two systems tested on the same rows are in the same.

    Raises:
        InputError: if there is no such column, or an emotion is unknown.
    """
    if unit not in predictions:
        raise InputError(
            f"unit={unit} is no column of the predictions: choose one of {', '.join(map(str, predictions))}."
        )
    names = keys(predictions, unit) if role(unit) is Role.KEY else predictions[unit]
    known = predictions[names.notna()]
    units, values = pd.factorize(names[names.notna()].astype(str), sort=True)
    runs = int(predictions["run"].max()) + 1 if len(predictions) else 1
    shape = (runs, len(values), len(class_names), len(class_names))
    true, predicted = (class_indices(known[column], class_names) for column in ("label", "predicted"))
    cells = np.ravel_multi_index((known["run"].to_numpy(dtype=int), units, true, predicted), shape)
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)


def bootstrap_intervals(
    confusions: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the scores over people (Efron & Tibshirani 1993, section 13.3).

    Args:
        confusions: as :func:`bootstrap_scores` takes them.
        level: share of the resamples within the interval.
        resamples: how many there are.
        seed: of the draws.

    Returns:
        The lower and the upper end for ``accuracy``, ``uar`` and ``f1``; NaN for fewer than two units.

    Raises:
        InputError: if the level is no share.

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
    """The scores of people drawn with replacement, many times.

    The units are drawn, not their frames: frames of one person are alike, and intervals over frames are too narrow.

    Args:
        confusions: counts (S, C, C), one matrix a unit, or (R, S, C, C) of R runs as :func:`run_confusions` gives,
            whose scores are averaged: the same people are drawn for all of them. A unit without a frame is none, a run
            without one in a resample is left out of its mean.
        resamples: how many there are.
        seed: of the draws.

    Returns:
        Shape (resamples,) for ``accuracy``, ``uar`` and ``f1``, as :class:`fervid.metrics.scores.Scores` defines them:
        an emotion that does not occur in a resample is left out of its means. NaN for fewer than two units.
    """
    confusions = np.asarray(confusions, dtype=float)
    if confusions.ndim == 3:
        confusions = confusions[None]
    confusions = confusions[:, confusions.any(axis=(0, 2, 3))]
    units = confusions.shape[1]
    if units < 2:
        return {name: np.full(resamples, np.nan) for name in ("accuracy", "uar", "f1")}
    # How often each unit is drawn is all that a sum of matrices needs to know.
    rng, chances = np.random.default_rng(seed), np.full(units, 1 / units)
    # A block of resamples at a time: clips of unknown people may be a million units.
    block = max(1, MAX_BLOCK_VALUES // units)
    blocks = [
        np.tensordot(
            rng.multinomial(units, chances, size=min(block, resamples - done)).astype(float), confusions, axes=(1, 1)
        )
        for done in range(0, resamples, block)
    ]
    summed = np.concatenate(blocks)  # (resamples, R, C, C)
    drawn = scores(summed)
    by_run = {"accuracy": drawn.accuracy, "uar": drawn.uar, "f1": drawn.macro_f1}
    return {name: np.nanmean(values, axis=1) for name, values in by_run.items()}


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The ends between which a share of the resamples lies; NaN if any is.

    Args:
        values: of :func:`bootstrap_scores`, or the difference of two of the same units and seed, which are paired.
        level: the share.

    Raises:
        InputError: if the level is no share.
    """
    if not 0 < level < 1:
        raise InputError(f"level={level} is no share: give a number between 0 and 1, such as 0.95.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> tuple[int, int, float]:
    """Whether two systems are right equally often on the same clips (McNemar 1947; exact binomial test).

    It takes the clips for independent, which several clips of one person are not.

    Args:
        right_a: whether the first system is right, bool (N,).
        right_b: the same of the second system, clip by clip.

    Returns:
        How many clips only the first and only the second system has right, and the two-sided p-value.

    Raises:
        InputError: if there are not as many of one as of the other.

    Examples:
        >>> first, second = [True] * 6 + [False] * 4, [True] + [False] * 9
        >>> only_first, only_second, p = mcnemar(first, second)
        >>> print(only_first, only_second, round(p, 3))
        5 0 0.062
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.shape != b.shape:
        raise InputError(f"{a.size} and {b.size} clips cannot be paired: give both systems' answers on the same clips.")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    table = [[int((a & b).sum()), only_a], [only_b, int((~a & ~b).sum())]]
    return only_a, only_b, float(contingency_tables.mcnemar(table, exact=True).pvalue)


def corrected_t(
    differences: Sequence[float] | np.ndarray, *, train: int | Sequence[int], test: int | Sequence[int]
) -> tuple[float, float]:
    """The corrected resampled t-test (Nadeau & Bengio 2003).

    The training sets of k folds or repeats overlap, so the differences between two systems are not independent. The
    variance of their mean is therefore taken as s^2 * (1 / k + n_test / n_train) instead of s^2 / k.

    Args:
        differences: score of one system less that of the other, shape (k,).
        train: size of the training set; one number, or one for each of the k.
        test: size of the test set, in the same unit. Where sizes differ, the mean of the k ratios counts.

    Returns:
        t and the two-sided p-value, with k - 1 degrees of freedom. Differences that are all the same give (0, 1) if
        they are zero, else an infinite t and p = 0.

    Raises:
        InputError: if there are fewer than two differences, or the sizes are not usable.

    Examples:
        >>> t, p = corrected_t([0.04, 0.01, 0.05, 0.03, 0.02], train=80, test=20)  # 5 folds
        >>> print(f"t = {t:.2f}, p = {p:.3f}")
        t = 2.83, p = 0.047
    """
    values = np.asarray(differences, dtype=float)
    k = len(values)
    if k < 2:
        raise InputError(f"{k} difference(s) cannot be tested: give those of at least two folds or repeats.")
    trains, tests = np.asarray(train, dtype=float), np.asarray(test, dtype=float)
    if any(sizes.shape not in ((), (k,)) or (sizes <= 0).any() for sizes in (trains, tests)):
        raise InputError(
            f"train={train} and test={test} are no sizes for {k} differences: give one positive number or {k}."
        )
    mean = values.mean()
    # The computed variance of equal numbers need not be quite zero.
    if np.ptp(values) == 0:
        return (0.0, 1.0) if mean == 0 else (float(np.copysign(np.inf, mean)), 0.0)
    t = mean / np.sqrt(values.var(ddof=1) * (1 / k + (tests / trains).mean()))
    return float(t), float(2 * stats.t.sf(abs(t), k - 1))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusts p-values for their number (Holm 1979).

    Args:
        p_values: of m tests, shape (m,); a test that could not be made is NaN.

    Returns:
        The adjusted p-values in the same order. NaN stays NaN and does not count as a test.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p_values, dtype=float)
    made = ~np.isnan(adjusted)
    # Statsmodels before 0.15 divides by their number.
    if made.any():
        adjusted[made] = multipletests(adjusted[made], method="holm")[1]
    return adjusted
