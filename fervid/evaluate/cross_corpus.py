"""A model on a corpus that it was not trained on: which emotions both know, and what becomes of the others."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.schema.emotions import shared_name
from fervid.schema.tables import Table

ALL_SHARED = "all shared"  # a row of the table of first choices


def emotion_table(labels: pd.Series, models: Sequence[Sequence[str]], shared: Sequence[str]) -> Table:
    """Which emotions are shared and which are dropped, with the frames of each.

    Args:
        labels: of all frames of the corpus, in its own words.
        models: the class names of each model.
        shared: of :func:`fervid.schema.emotions.shared_emotions`.
    """
    own = {str(emotion): int(count) for emotion, count in labels.value_counts().items()}
    known = [emotion for names in models for emotion in names]
    rows = []
    for name in sorted({shared_name(emotion) for emotion in [*own, *known]}):
        in_corpus = [emotion for emotion in own if shared_name(emotion) == name]
        in_model = sorted({emotion for emotion in known if shared_name(emotion) == name})
        everywhere = all(name in map(shared_name, names) for names in models)
        if name in shared:
            use = "shared"
        elif in_corpus:
            use = "dropped: " + ("a model does not know it" if in_model and not everywhere else "not in the model")
        else:
            use = "dropped: not in the corpus"
        rows.append(
            {
                "emotion": name,
                "use": use,
                "in the corpus": ", ".join(in_corpus) or None,
                "frames": sum(own[emotion] for emotion in in_corpus),
                "in the model": ", ".join(in_model) or None,
            }
        )
    data = pd.DataFrame(rows).sort_values("use", key=lambda use: use != "shared", kind="stable")
    notes = ["A model's probabilities of the shared emotions are scaled to sum to 1; classes of one name are added up."]
    return Table("emotions", "Emotions of the corpus and of the model", data, notes=notes)


def first_choice_table(
    labels: pd.Series, answers: Sequence[tuple[str, np.ndarray, Sequence[str]]], shared: Sequence[str]
) -> Table:
    """What each model says of each emotion of the corpus if all of its own emotions can be.

    Args:
        labels: of all N frames of the corpus, in its own words.
        answers: of each model its name, its probabilities (N, C) and the names of the C classes, all different.
        shared: of :func:`fervid.schema.emotions.shared_emotions`.
    """
    rows = []
    for model, probabilities, names in answers:
        said = pd.Series(np.array(names, dtype=object)[probabilities.argmax(axis=1)], index=labels.index)
        parts = [(emotion, said[labels == emotion]) for emotion in sorted(labels.unique())]
        in_shared = said[labels.map(shared_name).isin(shared)]
        for emotion, part in [*parts, (ALL_SHARED, in_shared)]:
            shares = part.value_counts(normalize=True)
            rows.append(
                {
                    "model": model,
                    "the frames show": emotion,
                    "frames": len(part),
                    "outside": float(1 - shares.reindex(shared).sum()),
                    **{name: float(shares.get(name, 0)) for name in sorted(names)},
                }
            )
    data = pd.DataFrame(rows)
    formats = {str(column): "{:.0%}" for column in data.columns[3:]}
    notes = [
        "Shares of the frames by the model's first choice among all of its own emotions, before any was left out.",
        "Outside: the first choice was an emotion that is not shared; such frames are scored by the likeliest shared "
        "one.",
    ]
    return Table("first_choices", "What the model says before emotions are left out", data, formats, notes)
