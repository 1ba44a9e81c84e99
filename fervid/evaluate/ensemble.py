"""Soft-voting ensembles: averages the probabilities of several runs and compares them with each member."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.metrics.aggregation import confusion
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_scores, percentile_interval, run_confusions
from fervid.report.score_tables import score_table
from fervid.report.systems import System
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.tables import Table


def member_weights(weights: Any, runs: Sequence[Run]) -> np.ndarray:
    """Returns the normalised weights of the members, shape (M,), with sum 1.

    Args:
        weights: None (equal), ``validation`` (proportional to the validation UAR), or one number per member.
        runs: the M members.

    Raises:
        InputError: if the weights are invalid.
    """
    given = weights
    if weights is None:
        given = [1.0] * len(runs)
    elif weights == "validation":
        missing = [str(run.folder) for run in runs if run.results["metrics"].get("val/uar") is None]
        if missing:
            raise InputError(
                f"weights=validation needs a validation UAR, but {missing[0]} has none: give a list of weights."
            )
        given = [run.metric("val/uar") for run in runs]
    elif isinstance(weights, str) or not hasattr(weights, "__iter__"):
        raise InputError(f"weights={weights} is unknown: give null, validation, or a list such as [2,1].")
    numbers = [float(n) if isinstance(n, int | float) and not isinstance(n, bool) else np.nan for n in given]
    values = np.array(numbers)
    if len(values) != len(runs) or not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise InputError(
            f"weights={list(given)} is invalid for {len(runs)} run{'s'[: len(runs) != 1]}: give one number per "
            "run, none below 0 and not all 0."
        )
    return values / values.sum()


def soft_vote(members: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Returns the weighted mean of the probabilities of the members.

    Args:
        members: probabilities (N, C) of each of the M members, with the same order of frames and emotions.
        weights: weights of the members, shape (M,), with sum 1.
    """
    return np.tensordot(weights, np.stack(members), axes=1)


def member_table(
    systems: Sequence[System],
    weights: Sequence[float | None],
    uar_all_emotions: Sequence[float | None] | None = None,
    *,
    resamples: int,
    seed: int,
) -> Table:
    """Returns the scores of each member and of the ensemble with confidence intervals, best first.

    Args:
        systems: members and ensemble, each with a single run.
        weights: weight of each member; None for the ensemble.
        uar_all_emotions: UAR of each system over all emotions of its model, for another corpus; None omits it.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    scored = score_table(systems, 1, resamples=resamples, seed=seed)
    weight_by_name = {system.name: weight for system, weight in zip(systems, weights, strict=True)}
    data = pd.DataFrame(
        {
            "model": scored.data["system"],
            "weight": scored.data["system"].map(weight_by_name),
            "leakage": scored.data["leakage"],
            **{f"{measure} frames": scored.data[f"{measure} frames"] for measure in ("UAR", "WAR")},
            **{
                f"{measure} clips": scored.data[f"{measure} clips, mean"]
                for measure in ("UAR", "WAR")
                if "UAR clips, mean" in scored.data
            },
        }
    )
    notes = [note for note in scored.notes if not note.startswith("A clip is scored")]
    if uar_all_emotions is not None:
        uar_by_name = {system.name: value for system, value in zip(systems, uar_all_emotions, strict=True)}
        data.insert(list(data).index("UAR frames") + 1, "UAR, all emotions", data["model"].map(uar_by_name))
        notes.append("UAR, all emotions: UAR of frames if predictions are not restricted to the shared emotions.")
    title, dropped = "Members and ensemble", []
    if len(systems) == 1:
        title, dropped = "Scores", ["weight"]
    if data["leakage"].nunique() == 1:  # a terminal is narrow
        title, dropped = f"{title}, {data['leakage'].iloc[0]}", [*dropped, "leakage"]
    tested = systems[0].frames
    subjects = keys(tested, "subject").nunique()
    title += f": {len(systems[0].class_names)} emotions, {len(tested)} frames"
    title += f" of {subjects} subject{'s'[: subjects != 1]}" if subjects else ""
    formats = {"weight": "{:.2f}", "UAR, all emotions": "{:.1%}"}
    return Table("members", title, data.drop(columns=dropped), formats, notes)


def gain_sentence(ensemble: System, members: Sequence[System], *, resamples: int, seed: int) -> str:
    """Compares the ensemble with its best member in one sentence.

    Args:
        ensemble: system with a single run.
        members: systems with a single run each, tested on the same frames.
        resamples: number of paired bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """

    def uar(system: System) -> float:
        return scores(confusion(system.frames, system.class_names)).means()["uar"]

    def resampled(system: System) -> np.ndarray:
        counts = run_confusions(system.frames, system.class_names, system.unit)
        return bootstrap_scores(counts, resamples=resamples, seed=seed)["uar"]

    best = max(members, key=uar)
    difference = 100 * (uar(ensemble) - uar(best))
    low, high = (100 * end for end in percentile_interval(resampled(ensemble) - resampled(best)))
    comparison = f"{abs(difference):.1f} points {'above' if difference > 0 else 'below'}"
    if abs(difference) < 0.05:
        comparison = "equal to"
    if not np.isfinite(low):
        interval = "no interval can be computed for a single subject or clip"
    else:
        unit = "subjects" if ensemble.unit == "subject" else "clips"
        chance = "; it may be due to chance" if low <= 0 <= high else ""
        interval = f"95% interval of the difference, resampling {unit}: {low:+.1f} to {high:+.1f}{chance}"
    return (
        f"The ensemble reaches a UAR of {uar(ensemble):.1%} on frames, {comparison} its best member, {best.name} with "
        f"{uar(best):.1%} ({interval})."
    )
