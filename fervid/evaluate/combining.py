"""Late fusion: combines the probabilities of several members, with equal, given or learned weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import softmax

from fervid.errors import InputError
from fervid.evaluate.alignment import align_tables
from fervid.metrics.aggregation import class_indices
from fervid.runs.run import Run
from fervid.schema.predictions import VALIDATION_FILE, probabilities

RULES = {
    "mean": "the weighted mean of the members' probabilities (combine=mean)",
    "product": "the weighted geometric mean of the members' probabilities, normalised (combine=product)",
}
"""Ways to combine probabilities."""
FLOOR = 1e-12  # smaller probabilities are raised to it, so that no member can exclude an emotion on its own


@dataclass(frozen=True)
class Weights:
    """Weights of the members of an ensemble.

    Attributes:
        values: weights (M,), none below 0, with sum 1.
        source: ``equal``, ``given``, ``validation`` or ``learned``.
        learned: for learned weights ``samples``, ``log_loss`` and ``log_loss_equal``, on the validation samples.
    """

    values: np.ndarray
    source: str
    learned: dict[str, float] = field(default_factory=dict)

    def describe(self, rule: str) -> str:
        """Returns one sentence on how the ensemble is computed.

        Args:
            rule: one of :data:`RULES`.
        """
        if self.learned:
            origin = (
                f"the weights minimise the log-loss of {self.learned['samples']} validation samples: "
                f"{self.learned['log_loss']:.3f}, {self.learned['log_loss_equal']:.3f} with equal weights"
            )
        else:
            origin = {
                "equal": "the weights are equal",
                "given": "the weights are those given",
                "validation": "the weights are proportional to the validation UAR",
            }[self.source]
        return f"The ensemble is {RULES[rule]}; {origin}."


def check_rule(rule: Any) -> str:
    """Returns the value of ``combine`` if it is one of :data:`RULES`.

    Raises:
        InputError: if it is not.
    """
    if rule not in RULES:
        raise InputError(f"combine={rule} is unknown: choose {' or '.join(RULES)}.")
    return str(rule)


def combine(members: Sequence[np.ndarray], weights: np.ndarray, rule: str = "mean") -> np.ndarray:
    """Combines the probabilities of the members of an ensemble.

    Args:
        members: probabilities (N, C) of each of the M members, with the same order of samples and emotions.
        weights: weights of the members, shape (M,), with sum 1.
        rule: ``mean``, the sum of w p; or ``product``, the product of p ** w, divided by its sum over the emotions.
            In a product, probabilities below :data:`FLOOR` are raised to it.

    Returns:
        Probabilities (N, C); each row sums to 1.

    Examples:
        >>> import numpy as np
        >>> sure, unsure = np.array([[0.9, 0.1]]), np.array([[0.4, 0.6]])
        >>> combine([sure, unsure], np.array([0.5, 0.5])).round(2).tolist()
        [[0.65, 0.35]]
        >>> combine([sure, unsure], np.array([0.5, 0.5]), "product").round(2).tolist()
        [[0.71, 0.29]]
    """
    stacked = np.stack(members)
    if check_rule(rule) == "mean":
        return np.tensordot(weights, stacked, axes=1)
    return softmax(np.tensordot(weights, np.log(np.maximum(stacked, FLOOR)), axes=1), axis=1)


def log_loss(combined: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean negative log-probability of the labels; probabilities below :data:`FLOOR` are raised to it.

    Args:
        combined: probabilities (N, C).
        labels: class index of each label, shape (N,).
    """
    return float(-np.log(np.maximum(combined[np.arange(len(labels)), labels], FLOOR)).mean())


def fit_weights(members: Sequence[np.ndarray], labels: np.ndarray, rule: str = "mean") -> np.ndarray:
    """Fits the weights with the lowest log-loss of the combined probabilities.

    Both rules are convex in the weights, so the search from equal weights finds the best ones. Fit them on validation
    samples, never on test samples.

    Args:
        members: probabilities (N, C) of each of the M members.
        labels: class index of each label, shape (N,).
        rule: one of :data:`RULES`.

    Returns:
        Weights (M,), none below 0, with sum 1.
    """
    equal = np.full(len(members), 1 / len(members))
    found = minimize(
        lambda weights: log_loss(combine(members, weights, rule), labels),
        equal,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(members),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-10, "maxiter": 500},
    )
    weights = np.maximum(found.x, 0)
    weights[weights < 1e-6] = 0  # the solver stops within rounding of the bound
    weights = weights / weights.sum()
    is_better = log_loss(combine(members, weights, rule), labels) <= log_loss(combine(members, equal, rule), labels)
    return weights if is_better else equal


def validation_tables(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[pd.DataFrame]] | None:
    """Returns the validation predictions of all runs, aligned; None unless they are of the same samples.

    Runs of different modalities may lack single clips, for example one in which no face was found: these are omitted.

    Args:
        runs: runs with validation predictions.

    Returns:
        The N samples, as rows of one of the tables; and for each run a table of N rows in the same order.
    """
    tables = [run.validation for run in runs]
    found = align_tables(tables)
    if not len(found.rows[0]) or (found.same_kind and not found.is_complete):
        return None
    aligned = [table.iloc[rows] for table, rows in zip(tables, found.rows, strict=True)]
    return aligned[found.base], aligned


def learned_weights(runs: Sequence[Run], rule: str = "mean") -> Weights:
    """Learns the weights of an ensemble on the validation subset of its members.

    Args:
        runs: the members.
        rule: one of :data:`RULES`.

    Raises:
        InputError: if a member has no validation predictions, or they are of other samples or emotions.
    """
    missing = [str(run.folder) for run in runs if not run.has_validation]
    if missing:
        raise InputError(
            f"weights=learned needs validation predictions, but {missing[0]} has no {VALIDATION_FILE}: train it with a "
            "validation subset, or give a list of weights."
        )
    names = runs[0].class_names
    for run in runs:
        if set(run.class_names) != set(names):
            raise InputError(
                f"weights=learned needs members with the same emotions, but {runs[0].folder} has {', '.join(names)} "
                f"and {run.folder} has {', '.join(run.class_names)}: give a list of weights."
            )
    aligned = validation_tables(runs)
    if aligned is None:
        folders = " and ".join(str(run.folder) for run in runs)
        raise InputError(
            f"weights=learned needs predictions of the same validation samples, but {folders} were validated on "
            "different ones: train them with the same split (split.seed), or give a list of weights."
        )
    labels = class_indices(aligned[0]["label"], names)
    members = [probabilities(table, names) for table in aligned[1]]
    values = fit_weights(members, labels, rule)
    equal = np.full(len(runs), 1 / len(runs))
    found = {
        "samples": len(labels),
        "log_loss": log_loss(combine(members, values, rule), labels),
        "log_loss_equal": log_loss(combine(members, equal, rule), labels),
    }
    return Weights(values, "learned", found)


def member_weights(weights: Any, runs: Sequence[Run], tables: Sequence[str] = (), rule: str = "mean") -> Weights:
    """Returns the weights of the members.

    Args:
        weights: None (equal), ``validation`` (proportional to the validation UAR), ``learned`` (lowest log-loss on the
            validation subset), or one number per member, first of the runs, then of the tables.
        runs: the members that are runs.
        tables: names of the members that are tables of posteriors.
        rule: one of :data:`RULES`, for learned weights.

    Raises:
        InputError: if the weights are invalid.
    """
    if weights in ("validation", "learned") and tables:
        raise InputError(
            f"weights={weights} needs validation predictions, which the table {tables[0]} does not have: give a list "
            "of weights, or none for equal ones."
        )
    if weights == "learned":
        return learned_weights(runs, rule)
    given, source = weights, "given"
    if weights is None:
        given, source = [1.0] * (len(runs) + len(tables)), "equal"
    elif weights == "validation":
        missing = [str(run.folder) for run in runs if run.results["metrics"].get("val/uar") is None]
        if missing:
            raise InputError(
                f"weights=validation needs a validation UAR, but {missing[0]} has none: give a list of weights."
            )
        given, source = [run.metric("val/uar") for run in runs], "validation"
    elif isinstance(weights, str) or not hasattr(weights, "__iter__"):
        raise InputError(f"weights={weights} is unknown: give null, validation, learned, or a list such as [2,1].")
    numbers = [float(n) if isinstance(n, int | float) and not isinstance(n, bool) else np.nan for n in given]
    values = np.array(numbers)
    number = len(runs) + len(tables)
    if len(values) != number or not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        members = f"{len(runs)} run{'s'[: len(runs) != 1]}"
        members += f" and {len(tables)} table{'s'[: len(tables) != 1]}" if tables else ""
        raise InputError(
            f"weights={list(given)} is invalid for {members}: give one number per run"
            f"{', then one per table' if tables else ''}, none below 0 and not all 0."
        )
    return Weights(values / values.sum(), source)
