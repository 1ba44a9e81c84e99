"""Tables for evaluation on another corpus: shared emotions, and predictions over all emotions of a model."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.schema.emotions import shared_name
from fervid.schema.tables import Table

ALL_SHARED = "all shared"  # row of the table of predictions over all emotions


def emotion_table(labels: pd.Series, models: Sequence[Sequence[str]], shared: Sequence[str]) -> Table:
    """Returns which emotions are shared and which are dropped, with their numbers of frames.

    Args:
        labels: labels of all frames, as the corpus names them.
        models: class names of each model.
        shared: emotions from :func:`fervid.schema.emotions.shared_emotions`.
    """
    counts = {str(emotion): int(count) for emotion, count in labels.value_counts().items()}
    known = [emotion for names in models for emotion in names]
    rows = []
    for name in sorted({shared_name(emotion) for emotion in [*counts, *known]}):
        in_corpus = [emotion for emotion in counts if shared_name(emotion) == name]
        in_model = sorted({emotion for emotion in known if shared_name(emotion) == name})
        everywhere = all(name in map(shared_name, names) for names in models)
        if name in shared:
            use = "shared"
        elif in_corpus:
            use = "dropped: " + ("not in every model" if in_model and not everywhere else "not in the model")
        else:
            use = "dropped: not in the corpus"
        rows.append(
            {
                "emotion": name,
                "use": use,
                "in the corpus": ", ".join(in_corpus) or None,
                "frames": sum(counts[emotion] for emotion in in_corpus),
                "in the model": ", ".join(in_model) or None,
            }
        )
    data = pd.DataFrame(rows).sort_values("use", key=lambda use: use != "shared", kind="stable")
    notes = [
        "The probabilities of the shared emotions are renormalised to sum to 1. Classes with the same shared name are "
        "summed."
    ]
    return Table("emotions", "Emotions of the corpus and the model", data, notes=notes)


def all_emotions_table(
    labels: pd.Series, predictions: Sequence[tuple[str, np.ndarray, Sequence[str]]], shared: Sequence[str]
) -> Table:
    """Returns how often each model predicts each of its emotions, including those that are not shared.

    Args:
        labels: labels of all N frames, as the corpus names them.
        predictions: name, probabilities (N, C) and C distinct class names of each model.
        shared: emotions from :func:`fervid.schema.emotions.shared_emotions`.
    """
    rows = []
    for model, probabilities, names in predictions:
        predicted = pd.Series(np.array(names, dtype=object)[probabilities.argmax(axis=1)], index=labels.index)
        parts = [(emotion, predicted[labels == emotion]) for emotion in sorted(labels.unique())]
        in_shared = predicted[labels.map(shared_name).isin(shared)]
        for emotion, part in [*parts, (ALL_SHARED, in_shared)]:
            shares = part.value_counts(normalize=True)
            rows.append(
                {
                    "model": model,
                    "label": emotion,
                    "frames": len(part),
                    "not shared": float(1 - shares.reindex(shared).sum()),
                    **{name: float(shares.get(name, 0)) for name in sorted(names)},
                }
            )
    data = pd.DataFrame(rows)
    formats = {str(column): "{:.0%}" for column in data.columns[3:]}
    notes = [
        "Fraction of the frames with each label that the model assigns to each of its emotions, before restriction to "
        "the shared emotions.",
        "Not shared: the most probable emotion is not shared. Such frames are scored by the most probable shared "
        "emotion.",
    ]
    return Table("all_emotions", "Predictions over all emotions of the model", data, formats, notes)
