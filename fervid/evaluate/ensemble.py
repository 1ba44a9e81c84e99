"""Tables and sentences that compare an ensemble with its members, and a run with its adaptations."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.evaluate.members import Member
from fervid.metrics.aggregation import confusion
from fervid.metrics.scores import scores
from fervid.metrics.statistics import bootstrap_scores, percentile_interval, run_confusions
from fervid.report.score_tables import score_table
from fervid.report.systems import System, sample_noun
from fervid.schema.columns import keys
from fervid.schema.tables import Table

ASSUMPTIONS = {
    "class_prior": "the probabilities are divided by their mean over the evaluated {samples}, which favours UAR and "
    "assumes that each emotion is equally frequent among them.",
    "batch_norm": "BatchNorm uses the statistics of the evaluated {samples}.",
    "entropy": "normalisation layers are trained for confident predictions on the evaluated {samples}.",
}
"""What each adaptation does, and what it assumes."""


def member_table(
    systems: Sequence[System],
    weights: Sequence[float | None],
    uar_all_emotions: Sequence[float | None] | None = None,
    about: str = "",
    *,
    resamples: int,
    seed: int,
) -> Table:
    """Returns the scores of each member and of the ensemble with confidence intervals, best first.

    Args:
        systems: members and ensemble, each with a single run.
        weights: weight of each member; None for the ensemble.
        uar_all_emotions: UAR of each system over all emotions of its model, for another corpus; None omits it.
        about: sentence on how the ensemble is computed, for the notes.
        resamples: number of bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    scored = score_table(systems, 1, resamples=resamples, seed=seed)
    samples = sample_noun(systems)
    weight_by_name = {system.name: weight for system, weight in zip(systems, weights, strict=True)}
    data = pd.DataFrame(
        {
            "model": scored.data["system"],
            "weight": scored.data["system"].map(weight_by_name),
            "leakage": scored.data["leakage"],
            **{f"{measure} {samples}": scored.data[f"{measure} {samples}"] for measure in ("UAR", "WAR")},
            **{
                f"{measure} clips": scored.data[f"{measure} clips, mean"]
                for measure in ("UAR", "WAR")
                if "UAR clips, mean" in scored.data
            },
        }
    )
    notes = [note for note in scored.notes if not note.startswith("A clip is scored")]
    if about:
        notes.append(about)
    if uar_all_emotions is not None:
        uar_by_name = {system.name: value for system, value in zip(systems, uar_all_emotions, strict=True)}
        data.insert(list(data).index(f"UAR {samples}") + 1, "UAR, all emotions", data["model"].map(uar_by_name))
        notes.append("UAR, all emotions: UAR if predictions are not restricted to the shared emotions.")
    title, dropped = "Members and ensemble", []
    if sum(weight is not None for weight in weights) < 2:  # a run, or a run and its adaptations
        title, dropped = "Scores", ["weight"]
    if data["leakage"].nunique() == 1:  # a terminal is narrow
        title, dropped = f"{title}, {data['leakage'].iloc[0]}", [*dropped, "leakage"]
    tested = systems[0].frames
    subjects = keys(tested, "subject").nunique()
    title += f": {len(systems[0].class_names)} emotions, {len(tested)} {samples}"
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
    best = max(members, key=_uar)
    return (
        f"The ensemble reaches a UAR of {_uar(ensemble):.1%} on frames, "
        f"{_difference(ensemble, best, 'its best member, ', resamples, seed)}."
    )


def adaptation_sentences(
    systems: Sequence[System], adapted: Sequence[Member], *, resamples: int, seed: int
) -> list[str]:
    """Compares a run with its adaptations, and says what these have seen and assume; empty if there are none.

    Args:
        systems: the run, followed by its adaptations, each with a single run.
        adapted: the adaptations.
        resamples: number of paired bootstrap samples of subjects or clips.
        seed: seed of the bootstrap.
    """
    samples = sample_noun(systems)
    sentences = [
        f"{system.name}: {ASSUMPTIONS[member.adaptation.method].format(samples=samples)} UAR of {_uar(system):.1%} on "
        f"{samples}, {_difference(system, systems[0], '', resamples, seed)}."
        for system, member in zip(systems[1:], adapted, strict=False)
        if member.adaptation is not None
    ]
    if sentences:
        sentences.append(
            f"Adapted runs have seen the evaluated {samples}, without labels: each of their predictions depends on "
            f"which {samples} are evaluated together."
        )
    return sentences


def _uar(system: System) -> float:
    return scores(confusion(system.frames, system.class_names)).means()["uar"]


def _difference(one: System, other: System, role: str, resamples: int, seed: int) -> str:
    """Describes how far the UAR of a system is from that of another, with a paired interval."""

    def resampled(system: System) -> np.ndarray:
        counts = run_confusions(system.frames, system.class_names, system.unit)
        return bootstrap_scores(counts, resamples=resamples, seed=seed)["uar"]

    difference = 100 * (_uar(one) - _uar(other))
    low, high = (100 * end for end in percentile_interval(resampled(one) - resampled(other)))
    comparison = f"{abs(difference):.1f} points {'above' if difference > 0 else 'below'}"
    if abs(difference) < 0.05:
        comparison = "equal to"
    if not np.isfinite(low):
        interval = "no interval can be computed for a single subject or clip"
    else:
        unit = "subjects" if one.unit == "subject" else "clips"
        chance = "; it may be due to chance" if low <= 0 <= high else ""
        interval = f"95% interval of the difference, resampling {unit}: {low:+.1f} to {high:+.1f}{chance}"
    return f"{comparison} {role}{other.name} with {_uar(other):.1%} ({interval})"
