"""A common vocabulary for the emotions of all corpora: ``happiness`` is ``happy``; ``calm`` is not ``neutral``."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError

SHARED = {
    "afraid": "fear",
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""Maps names used by individual corpora to the shared name."""


def shared_name(emotion: str) -> str:
    """Returns the shared name of an emotion; names without an entry in :data:`SHARED` are returned in lower case.

    Args:
        emotion: name as used by any corpus; case and surrounding blanks are ignored.

    Examples:
        >>> shared_name("Happiness"), shared_name("calm")
        ('happy', 'calm')
    """
    name = emotion.strip().lower()
    return SHARED.get(name, name)


def choose(selected: Sequence[str] | None, emotions: Sequence[str]) -> set[str]:
    """Selects emotions of a corpus.

    Args:
        selected: names as used by any corpus; None selects all.
        emotions: emotions of the corpus, as it names them.

    Returns:
        The selected emotions, as the corpus names them.

    Raises:
        InputError: if a name is unknown, or fewer than two emotions are selected.
    """
    names = {shared_name(emotion): emotion for emotion in emotions}
    if isinstance(selected, str) or not all(isinstance(name, str) for name in selected or []):
        raise InputError(
            f"dataset.emotions={selected} is not a list of names: give a list such as [{emotions[0]},{emotions[1]}]."
        )
    selected = emotions if selected is None else selected
    unknown = [name for name in selected if shared_name(name) not in names]
    chosen = {names[shared_name(name)] for name in selected if name not in unknown}
    if unknown or len(chosen) < 2:
        problem = f"{unknown[0]!r} is unknown" if unknown else "at least two emotions are needed"
        raise InputError(f"dataset.emotions={list(selected)}: {problem}; the corpus has {', '.join(emotions)}.")
    return chosen


def shared_emotions(models: Sequence[Sequence[str]], corpus: Sequence[str]) -> list[str]:
    """Returns the emotions that the corpus and all models have in common.

    Args:
        models: class names of each model.
        corpus: emotions of the corpus.

    Returns:
        The shared names (:func:`shared_name`), sorted.

    Raises:
        InputError: if fewer than two emotions are shared.
    """
    known = [{shared_name(emotion) for emotion in names} for names in [*models, corpus]]
    shared = sorted(set.intersection(*known))
    if len(shared) < 2:
        vocabularies = "; ".join(dict.fromkeys(", ".join(names) for names in models))
        raise InputError(
            f"the model and the corpus share {'no emotion' if not shared else f'only {shared[0]}'}, but at least two "
            f"are needed: the model has {vocabularies}; the corpus has {', '.join(sorted(corpus))}. Choose another "
            "corpus or more of its emotions."
        )
    return shared


def merge_classes(probabilities: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Sums the probabilities of classes with the same name.

    Args:
        probabilities: shape (N, num_classes).
        names: name of each class.

    Returns:
        Probabilities (N, C) of the C distinct names, and these names in order of first appearance.
    """
    numbers, unique = pd.factorize(np.array(names, dtype=object))
    return np.asarray(probabilities, dtype=float) @ np.eye(len(unique))[numbers], [str(name) for name in unique]


def restrict(probabilities: np.ndarray, names: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """Restricts probabilities to a subset of the emotions and renormalises them.

    Args:
        probabilities: shape (N, C).
        names: name of each class, all different.
        emotions: k of the names to keep.

    Returns:
        Probabilities (N, K) in the order of ``emotions``; each row sums to 1. A row in which all kept probabilities are
        0 becomes uniform.
    """
    kept = probabilities[:, [list(names).index(emotion) for emotion in emotions]]
    total = kept.sum(axis=1, keepdims=True)
    return np.divide(kept, total, out=np.full_like(kept, 1 / len(emotions)), where=total > 0)
