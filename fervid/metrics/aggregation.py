"""From frames to clips, and from predictions to counts."""

import numpy as np
import pandas as pd

from fervid.schema.errors import InputError

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
        frames: one row a frame, with ``clip``, ``true`` and a probability ``p_<emotion>`` each.
        class_names: the C emotions.
        rule: one of :data:`RULES`.

    Returns:
        One row a clip, in the order of first appearance: ``clip``; ``frames``, how many it has; each further column
        of ``frames`` that never varies within a clip; ``true``, the most frequent label of its frames; ``predicted``;
        ``p_<emotion>`` each.

    Raises:
        InputError: if the rule or a true emotion is unknown.
    """
    if rule not in RULES:
        raise InputError(f"rule={rule} is unknown: choose one of {', '.join(RULES)}.")
    chances = [f"p_{name}" for name in class_names]
    probabilities = frames[chances].to_numpy(dtype=float)
    clips = pd.factorize(frames["clip"])[0]
    one_hot = np.eye(len(class_names))

    def per_clip(values: np.ndarray) -> np.ndarray:
        return pd.DataFrame(values).groupby(clips).sum().to_numpy()

    counts = np.bincount(clips)
    weights = probabilities.max(axis=1, keepdims=True) if rule == "confidence" else np.ones((len(frames), 1))
    clip_probabilities = per_clip(weights * probabilities) / per_clip(weights)
    predicted = clip_probabilities.argmax(axis=1)
    if rule == "majority":
        votes = per_clip(one_hot[probabilities.argmax(axis=1)])
        first = votes == votes.max(axis=1, keepdims=True)
        predicted = np.where(first, clip_probabilities, -1).argmax(axis=1)
        clip_probabilities = votes / counts[:, None]

    own = [column for column in frames if column not in ("clip", "true", "predicted", *chances)]
    constant = frames[own].groupby(clips).nunique(dropna=False).le(1).all()
    names = np.array(class_names, dtype=object)
    table = frames[["clip", *constant.index[constant]]].drop_duplicates("clip", ignore_index=True)
    table.insert(1, "frames", counts)
    table["true"] = names[per_clip(one_hot[class_indices(frames["true"], class_names)]).argmax(axis=1)]
    table["predicted"] = names[predicted]
    return pd.concat([table, pd.DataFrame(clip_probabilities, columns=chances)], axis=1)


def level_predictions(predictions: pd.DataFrame, class_names: list[str]) -> dict[str, pd.DataFrame]:
    """The predictions of frames, and of clips by each rule of :data:`RULES`; of single pictures nothing but frames."""
    if predictions["clip"].is_unique:
        return {"frames": predictions}
    by_rule = {f"clips, {rule}": clip_predictions(predictions, class_names, rule) for rule in RULES}
    return {"frames": predictions} | by_rule


def confusion(predictions: pd.DataFrame, class_names: list[str]) -> np.ndarray:
    """Counts each pair of a true and a predicted emotion.

    Args:
        predictions: one row a frame or clip, with ``true`` and ``predicted``.
        class_names: the C emotions.

    Returns:
        Counts (C, C), a row a true emotion, a column a predicted one.

    Raises:
        InputError: if an emotion is unknown.
    """
    size = len(class_names)
    true, predicted = (class_indices(predictions[column], class_names) for column in ("true", "predicted"))
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
