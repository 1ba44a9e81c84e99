"""Several models as one: their probabilities averaged (soft vote), beside what each says alone."""

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
    """How much each member counts, shape (M,), sum 1.

    Args:
        weights: None (all alike), ``validation`` (each by its UAR on validation frames), or a number for each.
        runs: the M members.

    Raises:
        InputError: if the weights cannot be used.
    """
    given = weights
    if weights is None:
        given = [1.0] * len(runs)
    elif weights == "validation":
        missing = [str(run.folder) for run in runs if run.results["metrics"].get("val/uar") is None]
        if missing:
            raise InputError(f"weights=validation needs a validation UAR, and {missing[0]} has none: give a list.")
        given = [run.metric("val/uar") for run in runs]
    elif isinstance(weights, str) or not hasattr(weights, "__iter__"):
        raise InputError(f"weights={weights} is unknown: give null, validation, or a list such as [2,1].")
    numbers = [float(n) if isinstance(n, int | float) and not isinstance(n, bool) else np.nan for n in given]
    values = np.array(numbers)
    if len(values) != len(runs) or not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise InputError(
            f"weights={list(given)} cannot be used for {len(runs)} run{'s'[: len(runs) != 1]}: give a number for each, "
            "none below 0 and not all 0."
        )
    return values / values.sum()


def soft_vote(members: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The weighted mean of the members' probabilities.

    Args:
        members: probabilities (N, C) of each of M members, of the same frames and emotions in the same order.
        weights: of the members, shape (M,), sum 1.
    """
    return np.tensordot(weights, np.stack(members), axes=1)


def member_table(
    systems: Sequence[System],
    weights: Sequence[float | None],
    own_choice: Sequence[float | None] | None = None,
    *,
    resamples: int,
    seed: int,
) -> Table:
    """Scores of each member and of the ensemble, each with its interval, best first.

    Args:
        systems: each of one run.
        weights: of each; None for the ensemble.
        own_choice: UAR of each if it may choose among all emotions it knows, on another corpus; None: not told.
        resamples: of people, for the intervals.
        seed: of the resamples.
    """
    scored = score_table(systems, 1, resamples=resamples, seed=seed)
    weight = {system.name: share for system, share in zip(systems, weights, strict=True)}
    data = pd.DataFrame(
        {
            "model": scored.data["system"],
            "weight": scored.data["system"].map(weight),
            "leakage": scored.data["leakage"],
            **{f"{measure} frames": scored.data[f"{measure} frames"] for measure in ("UAR", "WAR")},
            **{
                f"{measure} clips": scored.data[f"{measure} clips, mean"]
                for measure in ("UAR", "WAR")
                if "UAR clips, mean" in scored.data
            },
        }
    )
    notes = [note for note in scored.notes if not note.startswith("Clips:")]
    if own_choice is not None:
        free = {system.name: value for system, value in zip(systems, own_choice, strict=True)}
        data.insert(list(data).index("UAR frames") + 1, "UAR, any emotion", data["model"].map(free))
        notes.append("UAR, any emotion: of frames, if the model may choose among all emotions it knows.")
    title, absent = "Members and ensemble", []
    if len(systems) == 1:
        title, absent = "Scores", ["weight"]
    if data["leakage"].nunique() == 1:  # a terminal is narrow
        title, absent = f"{title}, {data['leakage'].iloc[0]}", [*absent, "leakage"]
    tested = systems[0].frames
    people = keys(tested, "subject").nunique()
    title += f": {len(systems[0].class_names)} emotions, {len(tested)} frames"
    title += f" of {people} {'person' if people == 1 else 'people'}" if people else ""
    formats = {"weight": "{:.2f}", "UAR, any emotion": "{:.1%}"}
    return Table("members", title, data.drop(columns=absent), formats, notes)


def gain_sentence(ensemble: System, members: Sequence[System], *, resamples: int, seed: int) -> str:
    """Whether the ensemble is better than the best of its members, in one sentence.

    Args:
        ensemble: of one run.
        members: each of one run, tested on the same frames.
        resamples: of people, for the interval; the same are drawn for both.
        seed: of the resamples.
    """

    def uar(system: System) -> float:
        return scores(confusion(system.frames, system.class_names)).means()["uar"]

    def drawn(system: System) -> np.ndarray:
        counts = run_confusions(system.frames, system.class_names, system.unit)
        return bootstrap_scores(counts, resamples=resamples, seed=seed)["uar"]

    best = max(members, key=uar)
    ahead = 100 * (uar(ensemble) - uar(best))
    low, high = (100 * end for end in percentile_interval(drawn(ensemble) - drawn(best)))
    by_how_much = f"{abs(ahead):.1f} points {'above' if ahead > 0 else 'below'}"
    if abs(ahead) < 0.05:
        by_how_much = "just as much as"
    if not np.isfinite(low):
        verdict = "of a single person or clip no interval can be given"
    else:
        unit = "people" if ensemble.unit == "subject" else "clips"
        chance = "; it may be chance" if low <= 0 <= high else ""
        verdict = f"95 % interval of the difference over {unit}: {low:+.1f} to {high:+.1f}{chance}"
    return (
        f"The ensemble reaches a UAR of {uar(ensemble):.1%} on frames, {by_how_much} the best of its members on these "
        f"frames, {best.name} with {uar(best):.1%} ({verdict})."
    )
