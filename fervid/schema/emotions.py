"""One vocabulary for the emotions of all corpora: ``happiness`` and ``happy`` are the same, ``calm`` stays apart."""

from collections.abc import Sequence

from fervid.schema.errors import InputError

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
