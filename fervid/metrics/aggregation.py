"""Aggregates frame predictions to clips, and predictions to counts and scores."""

from typing import TypedDict

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.metrics.scores import scores
from fervid.metrics.votes import vote_scores
from fervid.schema.columns import keys
from fervid.schema.predictions import probabilities, probability_columns
from fervid.schema.results import CLASSIFICATION

RULES = ("mean", "majority", "confidence")


def clip_predictions(frames: pd.DataFrame, class_names: list[str], rule: str = "mean") -> pd.DataFrame:
    """Aggregates frame predictions to clip predictions.

    The rules in :data:`RULES` are:

    - ``mean``: mean of the frame probabilities.
    - ``majority``: each frame votes for its most probable emotion; the probabilities are the fractions of the votes.
      Ties are broken by the larger mean probability.
    - ``confidence``: mean of the frame probabilities, weighted by the largest probability of each frame.

    Remaining ties are broken by the order of ``class_names``.

    Args:
        frames: one row per frame, with ``corpus``, ``clip``, ``label`` and a column ``prob_<emotion>`` per emotion.
        class_names: the C emotions.
        rule: one of :data:`RULES`.

    Returns:
        One row per clip, in order of first appearance: ``clip``; ``frames``, its number of frames; every other column
        that is constant within clips; ``label``, the most frequent label of its frames; ``predicted``; and
        ``prob_<emotion>`` for each emotion.

    Raises:
        InputError: if the rule or a label is unknown.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from fervid.schema.predictions import predictions_table
        >>> frames = pd.DataFrame({"corpus": "mine", "clip": ["a", "a", "b"], "emotion": ["happy", "happy", "sad"]})
        >>> probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
        >>> table = predictions_table(frames, probabilities, ["happy", "sad"])
        >>> clip_predictions(table, ["happy", "sad"])[["clip", "frames", "predicted"]].to_dict("list")
        {'clip': ['a', 'b'], 'frames': [2, 1], 'predicted': ['happy', 'sad']}
    """
    if rule not in RULES:
        raise InputError(f"rule={rule} is unknown: choose one of {', '.join(RULES)}.")
    columns = probability_columns(class_names)
    rates = probabilities(frames, class_names)
    clips = pd.factorize(keys(frames, "clip"))[0]
    one_hot = np.eye(len(class_names))

    def per_clip(values: np.ndarray) -> np.ndarray:
        return pd.DataFrame(values).groupby(clips).sum().to_numpy()

    counts = np.bincount(clips)
    weights = rates.max(axis=1, keepdims=True) if rule == "confidence" else np.ones((len(frames), 1))
    clip_probabilities = per_clip(weights * rates) / per_clip(weights)
    predicted = clip_probabilities.argmax(axis=1)
    if rule == "majority":
        votes = per_clip(one_hot[rates.argmax(axis=1)])
        first = votes == votes.max(axis=1, keepdims=True)
        predicted = np.where(first, clip_probabilities, -1).argmax(axis=1)
        clip_probabilities = votes / counts[:, None]

    other = [column for column in frames if column not in ("clip", "label", "predicted", *columns)]
    constant = frames[other].groupby(clips).nunique(dropna=False).le(1).all()
    names = np.array(class_names, dtype=object)
    table = (
        frames[["clip", *constant.index[constant]]].iloc[np.unique(clips, return_index=True)[1]].reset_index(drop=True)
    )
    table.insert(1, "frames", counts)
    table["label"] = names[per_clip(one_hot[class_indices(frames["label"], class_names)]).argmax(axis=1)]
    table["predicted"] = names[predicted]
    return pd.concat([table, pd.DataFrame(clip_probabilities, columns=columns)], axis=1)


def level_predictions(predictions: pd.DataFrame, class_names: list[str]) -> dict[str, pd.DataFrame]:
    """Returns frame predictions and clip predictions by each rule; only frames if every clip has a single frame."""
    if keys(predictions, "clip").is_unique:
        return {"frames": predictions}
    by_rule = {f"clips, {rule}": clip_predictions(predictions, class_names, rule) for rule in RULES}
    return {"frames": predictions} | by_rule


def confusion(predictions: pd.DataFrame, class_names: list[str]) -> np.ndarray:
    """Computes the confusion matrix.

    Args:
        predictions: one row per frame or clip, with ``label`` and ``predicted``.
        class_names: the C emotions.

    Returns:
        Counts (C, C); rows are labels, columns predictions.

    Raises:
        InputError: if an emotion is unknown.
    """
    size = len(class_names)
    true, predicted = (class_indices(predictions[column], class_names) for column in ("label", "predicted"))
    return np.bincount(true * size + predicted, minlength=size**2).reshape(size, size)


def class_indices(labels: pd.Series, class_names: list[str]) -> np.ndarray:
    """Returns the index of each label in ``class_names``, shape (N,).

    Raises:
        InputError: if a label is not in ``class_names``.
    """
    indices = pd.Index(class_names).get_indexer(pd.Index(labels))
    if (indices < 0).any():
        unknown = sorted({str(label) for label in labels[indices < 0]})
        raise InputError(
            f"the predictions contain {', '.join(unknown)}, but the classes are {', '.join(class_names)}: "
            "use the classes of the run that made the predictions."
        )
    return indices


class Measured(TypedDict):
    """Entries of the results record that are computed from test predictions."""

    task: str
    class_names: list[str]
    metrics: dict[str, float]
    recall: dict[str, float | None]
    precision: dict[str, float | None]
    confusion: list[list[int]]


def measure(predictions: pd.DataFrame, class_names: list[str]) -> Measured:
    """Computes the scores of test predictions on frames and on clips (mean of the frame probabilities).

    Args:
        predictions: one row per test frame (:mod:`fervid.schema.predictions`).
        class_names: the C emotions.

    Returns:
        ``metrics``: ``test/accuracy``, ``test/uar`` and ``test/f1`` of frames and ``test/clip_...`` of clips, NaN if
        there are no frames, and the scores of :func:`fervid.metrics.votes.vote_scores` of frames; ``recall`` and
        ``precision`` of each emotion, None where the denominator is 0; and ``confusion`` of frames.
    """
    counts = confusion(predictions, class_names)
    clips = confusion(clip_predictions(predictions, class_names), class_names)
    frame_scores = scores(counts)

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        return {
            name: float(value) if np.isfinite(value) else None for name, value in zip(class_names, values, strict=True)
        }

    return {
        "task": CLASSIFICATION,
        "class_names": list(class_names),
        "metrics": {
            f"{prefix}{name}": value
            for prefix, found in (("test/", frame_scores), ("test/clip_", scores(clips)))
            for name, value in found.means().items()
        }
        | {f"test/{name}": value for name, value in vote_scores(predictions, class_names).items()},
        "recall": by_class(frame_scores.recall),
        "precision": by_class(frame_scores.precision),
        "confusion": counts.tolist(),
    }
