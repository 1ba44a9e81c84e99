"""One vocabulary for the emotions of all corpora: ``happiness`` and ``happy`` are the same, ``calm`` stays apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.errors import InputError

SHARED = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""The shared name of each name that some corpus uses instead."""


def shared_name(emotion: str) -> str:
    """The shared name of an emotion; a name no corpus uses is its own.

    Args:
        emotion: in any corpus's words; blanks around it and capitals do not matter.

    Examples:
        >>> shared_name("Happiness"), shared_name("calm")
        ('happy', 'calm')
    """
    name = emotion.strip().lower()
    return SHARED.get(name, name)


def choose(asked: Sequence[str] | None, emotions: Sequence[str]) -> set[str]:
    """Some of a corpus's emotions.

    Args:
        asked: names in any corpus's words; None: all.
        emotions: those of the corpus, in its own words.

    Returns:
        Those asked for, in the corpus's own words.

    Raises:
        InputError: if one is not among them, or fewer than two are asked for.
    """
    names = {shared_name(emotion): emotion for emotion in emotions}
    if isinstance(asked, str) or not all(isinstance(name, str) for name in asked or []):
        raise InputError(
            f"dataset.emotions={asked} is no list of names: give one such as [{emotions[0]},{emotions[1]}]."
        )
    asked = emotions if asked is None else asked
    unknown = [name for name in asked if shared_name(name) not in names]
    chosen = {names[shared_name(name)] for name in asked if name not in unknown}
    if unknown or len(chosen) < 2:
        what = f"{unknown[0]!r} is none of them" if unknown else "two at least are needed"
        raise InputError(f"dataset.emotions={list(asked)}: {what}; the corpus has {', '.join(emotions)}.")
    return chosen


def shared_emotions(models: Sequence[Sequence[str]], corpus: Sequence[str]) -> list[str]:
    """The emotions that every model and the corpus know.

    Args:
        models: the class names of each model, in its own words.
        corpus: the emotions of the corpus, in its own words.

    Returns:
        Their shared names (:func:`shared_name`), sorted.

    Raises:
        InputError: if there are fewer than two.
    """
    known = [{shared_name(emotion) for emotion in names} for names in [*models, corpus]]
    shared = sorted(set.intersection(*known))
    if len(shared) < 2:
        told = "; ".join(dict.fromkeys(", ".join(names) for names in models))
        raise InputError(
            f"the model and the corpus share {'no emotion' if not shared else f'only {shared[0]}'}, and at least two "
            f"are needed: the model knows {told}; the corpus holds {', '.join(sorted(corpus))}. Choose another corpus, "
            "or more of its emotions."
        )
    return shared


def merge_classes(probabilities: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Adds up the classes that have one name.

    Args:
        probabilities: shape (N, num_classes).
        names: what each class counts as.

    Returns:
        Probabilities (N, C) of the C different names, and these in the order of first appearance.
    """
    numbers, unique = pd.factorize(np.array(names, dtype=object))
    return np.asarray(probabilities, dtype=float) @ np.eye(len(unique))[numbers], [str(name) for name in unique]


def restrict(probabilities: np.ndarray, names: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """What a model says if only some emotions can be.

    Args:
        probabilities: shape (N, C).
        names: what each class counts as, all different.
        emotions: those that are kept, K of the names.

    Returns:
        Probabilities (N, K) in the order of ``emotions``; each row sums to 1, also where the model gave them nothing:
        they are then all alike.
    """
    kept = probabilities[:, [list(names).index(emotion) for emotion in emotions]]
    total = kept.sum(axis=1, keepdims=True)
    return np.divide(kept, total, out=np.full_like(kept, 1 / len(emotions)), where=total > 0)
