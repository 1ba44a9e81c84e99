"""From frames to clips, and from predictions to counts."""

from typing import TypedDict

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.metrics.scores import scores
from fervid.schema.columns import keys
from fervid.schema.predictions import probabilities, probability_columns
from fervid.schema.results import CLASSIFICATION

RULES = ("mean", "majority", "confidence")


def clip_predictions(frames: pd.DataFrame, class_names: list[str], rule: str = "mean") -> pd.DataFrame:
    """Makes one statement on each clip of what was said of its frames.

    The rules of :data:`RULES`:

    - ``mean``: the mean of the frames' probabilities.
    - ``majority``: each frame has one vote, for its likeliest emotion; the probabilities are the shares of the votes.
      Of emotions with as many votes the one with the larger mean probability wins.
    - ``confidence``: the mean of the frames' probabilities, each frame weighted by its largest one.

    Emotions that are still even go by the order of ``class_names``.

    Args:
        frames: one row a frame, with ``corpus``, ``clip``, ``label`` and a probability ``prob_<emotion>`` each.
        class_names: the C emotions.
        rule: one of :data:`RULES`.

    Returns:
        One row a clip, in the order of first appearance: ``clip``; ``frames``, how many it has; each further column
        of ``frames`` that never varies within a clip; ``label``, the most frequent label of its frames; ``predicted``;
        ``prob_<emotion>`` each.

    Raises:
        InputError: if the rule or a true emotion is unknown.

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
    chances = probability_columns(class_names)
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

    own = [column for column in frames if column not in ("clip", "label", "predicted", *chances)]
    constant = frames[own].groupby(clips).nunique(dropna=False).le(1).all()
    names = np.array(class_names, dtype=object)
    table = (
        frames[["clip", *constant.index[constant]]].iloc[np.unique(clips, return_index=True)[1]].reset_index(drop=True)
    )
    table.insert(1, "frames", counts)
    table["label"] = names[per_clip(one_hot[class_indices(frames["label"], class_names)]).argmax(axis=1)]
    table["predicted"] = names[predicted]
    return pd.concat([table, pd.DataFrame(clip_probabilities, columns=chances)], axis=1)


def level_predictions(predictions: pd.DataFrame, class_names: list[str]) -> dict[str, pd.DataFrame]:
    """The predictions of frames, and of clips by each rule of :data:`RULES`; of single pictures nothing but frames."""
    if keys(predictions, "clip").is_unique:
        return {"frames": predictions}
    by_rule = {f"clips, {rule}": clip_predictions(predictions, class_names, rule) for rule in RULES}
    return {"frames": predictions} | by_rule


def confusion(predictions: pd.DataFrame, class_names: list[str]) -> np.ndarray:
    """Counts each pair of a true and a predicted emotion.

    Args:
        predictions: one row a frame or clip, with ``label`` and ``predicted``.
        class_names: the C emotions.

    Returns:
        Counts (C, C), a row a true emotion, a column a predicted one.

    Raises:
        InputError: if an emotion is unknown.
    """
    size = len(class_names)
    true, predicted = (class_indices(predictions[column], class_names) for column in ("label", "predicted"))
    return np.bincount(true * size + predicted, minlength=size**2).reshape(size, size)


def class_indices(labels: pd.Series, class_names: list[str]) -> np.ndarray:
    """The number of each label in ``class_names``, shape (N,).

    Raises:
        InputError: if a label is none of them.
    """
    indices = pd.Index(class_names).get_indexer(pd.Index(labels))
    if (indices < 0).any():
        unknown = sorted({str(label) for label in labels[indices < 0]})
        raise InputError(
            f"the predictions speak of {', '.join(unknown)}, the classes are {', '.join(class_names)}: "
            "give the classes of the run that made them."
        )
    return indices


class Measured(TypedDict):
    """The entries of the results record that are read off a table of test predictions."""

    task: str
    class_names: list[str]
    metrics: dict[str, float]
    recall: dict[str, float | None]
    precision: dict[str, float | None]
    confusion: list[list[int]]


def measure(predictions: pd.DataFrame, class_names: list[str]) -> Measured:
    """Measures a table of test predictions, on frames and on whole clips (the mean of their frames' probabilities).

    Args:
        predictions: one row a test frame (:mod:`fervid.schema.predictions`).
        class_names: the C emotions.

    Returns:
        ``metrics``: ``test/accuracy``, ``test/uar``, ``test/f1`` of frames and ``test/clip_...`` of clips, NaN if there
        is no frame; ``recall`` and ``precision`` of each emotion, None where there is nothing to divide by; and
        ``confusion``, of frames.
    """
    counts = confusion(predictions, class_names)
    clips = confusion(clip_predictions(predictions, class_names), class_names)
    reached = scores(counts)

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        return {
            name: float(value) if np.isfinite(value) else None for name, value in zip(class_names, values, strict=True)
        }

    return {
        "task": CLASSIFICATION,
        "class_names": list(class_names),
        "metrics": {
            f"{prefix}{name}": value
            for prefix, found in (("test/", reached), ("test/clip_", scores(clips)))
            for name, value in found.means().items()
        },
        "recall": by_class(reached.recall),
        "precision": by_class(reached.precision),
        "confusion": counts.tolist(),
    }
