"""Scores of the parts of a task other than the emotion: of valence and arousal, and of action units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from fervid.metrics.action_units import unit_counts, unit_scores
from fervid.metrics.affect import affect_scores, moments
from fervid.metrics.aggregation import measure
from fervid.metrics.statistics import bootstrap, unit_sums
from fervid.schema.columns import CLIP_KEY, keys
from fervid.schema.parts import AFFECT, EMOTION, UNITS, Part, as_entry


class Statistics(Protocol):
    """Returns what each of N samples adds to the statistics of a score, shape (N, ...)."""

    def __call__(self, labels: np.ndarray, predictions: np.ndarray, /) -> np.ndarray: ...


class Scores(Protocol):
    """Computes scores by their name from added statistics (..., D, K) of D names."""

    def __call__(self, statistics: np.ndarray, names: Sequence[str], /) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Measure:
    """How a part is scored.

    Attributes:
        main: its main score; larger is better.
        shown: the scores in tables, by their titles.
        shares: the scores that are shown in percent.
        has_clips: whether the mean of the frames of a clip is scored, too.
        statistics: what a sample adds.
        scores: the scores.
    """

    main: str
    shown: dict[str, str]
    shares: tuple[str, ...]
    has_clips: bool
    statistics: Statistics
    scores: Scores


MEASURES = {
    AFFECT: Measure(
        "ccc",
        {
            "CCC": "ccc",
            "CCC valence": "ccc_valence",
            "CCC arousal": "ccc_arousal",
            "RMSE": "rmse",
            "Pearson r": "pearson",
        },
        (),
        True,
        moments,
        affect_scores,
    ),
    # An action unit is an event of a moment: it is not a property of a clip.
    UNITS: Measure(
        "f1_units",
        {"F1": "f1_units", "balanced accuracy": "balanced_accuracy_units"},
        ("f1_units", "balanced_accuracy_units"),
        False,
        unit_counts,
        unit_scores,
    ),
}
"""How each part but the emotion is scored, by its name."""
EMOTION_SCORES = {"UAR": "uar", "WAR (accuracy)": "accuracy", "macro F1": "f1"}
"""Scores of the part emotion (:mod:`fervid.metrics.scores`), by their titles."""
MAIN_SCORES = {EMOTION: "uar"} | {name: measure.main for name, measure in MEASURES.items()}
"""The main score of each part: 1 is perfect."""
PART_TITLES = {EMOTION: "Emotion", AFFECT: "Valence and arousal", UNITS: "Action units"}
SCORE_TITLES = {"uar": "UAR", "ccc": "CCC", "f1_units": "F1 of the units", "mean_score": "mean score"}
"""Titles of the main scores outside the tables of their parts."""


def main_score(parts: Sequence[Part]) -> str:
    """Returns the main score of a task with these parts."""
    return "mean_score" if len(parts) > 1 else MAIN_SCORES[parts[0].name]


def statistics(table: pd.DataFrame, part: Part) -> np.ndarray:
    """Returns what each row of a predictions table adds to the statistics of a part, shape (N, D, K)."""
    labels, predictions = (table[columns].to_numpy(dtype=float) for columns in (part.labels, part.predictions))
    return MEASURES[part.name].statistics(labels, predictions)


def part_scores(table: pd.DataFrame, part: Part) -> dict[str, float]:
    """Returns the scores of a part over the rows of a predictions table; NaN where there are no labels."""
    found = MEASURES[part.name].scores(statistics(table, part).sum(axis=0), part.names)
    return {name: float(value) for name, value in found.items()}


def bootstrap_part(table: pd.DataFrame, part: Part, unit: str, *, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Computes the scores of a part on bootstrap samples of subjects (:func:`fervid.metrics.statistics.bootstrap`).

    Args:
        table: one row per frame or clip, with the number of the ``run``.
        part: the part.
        unit: column with the units to resample, such as ``subject``.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        Arrays (resamples,) by the name of the score.
    """
    sums = unit_sums(table, statistics(table, part), unit)
    return bootstrap(sums, lambda drawn: MEASURES[part.name].scores(drawn, part.names), resamples=resamples, seed=seed)


def clip_means(table: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Returns the mean labels and predictions of a part for each clip, with the subject of the clip.

    Args:
        table: one row per frame; with a column ``run``, the clips of each run are averaged separately.
        part: the part.
    """
    if part.name == AFFECT:  # labels and predictions of the same frames
        known = table[part.labels].notna().to_numpy()
        table = table.assign(**table[part.predictions].where(known))
    by = [*(["run"] if "run" in table else []), *CLIP_KEY]
    grouped = table.groupby(by, sort=False, dropna=False)
    means = grouped[[*part.labels, *part.predictions]].mean()
    return means.assign(subject=grouped["subject"].first()).reset_index()


def measure_parts(predictions: pd.DataFrame, task: str, parts: Sequence[Part]) -> dict[str, Any]:
    """Computes the results of test predictions of a task with parts.

    Args:
        predictions: predictions table.
        task: name of the task.
        parts: its parts.

    Returns:
        Entries of :class:`fervid.schema.results.Results`: ``task``, ``parts``, and ``metrics`` with the scores of each
        part as ``test/<score>``, those of whole clips as ``test/clip_<score>``, and with several parts
        ``test/mean_score``, the mean of their main scores. With the part emotion also the entries of a classification.
    """
    found: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    has_clips = not keys(predictions, "clip").is_unique
    for part in parts:
        if part.name == EMOTION:
            found = {**measure(predictions, list(part.names))}
            metrics |= found["metrics"]
            continue
        metrics |= {f"test/{name}": value for name, value in part_scores(predictions, part).items()}
        if has_clips and MEASURES[part.name].has_clips:
            clips = part_scores(clip_means(predictions, part), part)
            metrics |= {f"test/clip_{name}": value for name, value in clips.items()}
    if len(parts) > 1:
        metrics["test/mean_score"] = mean_score({name.removeprefix("test/"): value for name, value in metrics.items()})
    return found | {"task": task, "parts": as_entry(parts), "metrics": metrics}


def mean_score(scores: dict[str, float]) -> float:
    """Returns the mean of the main scores of all parts, similar to the sum of Kollias 2022; NaN if one is NaN.

    Args:
        scores: scores of all parts by their names without prefix.
    """
    return float(np.mean([scores[name] for name in MAIN_SCORES.values() if name in scores]))


def describe_scores(scores: Mapping[str, float], part: Part) -> str:
    """Describes the scores of a part other than the emotion in one line, such as ``CCC 0.412, ...``.

    Args:
        scores: scores by their names without prefix.
        part: the part.
    """
    measure = MEASURES[part.name]
    return ", ".join(
        f"{title} {scores[name]:.1%}" if name in measure.shares else f"{title} {scores[name]:.3f}"
        for title, name in measure.shown.items()
    )
