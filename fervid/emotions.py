"""One vocabulary for the emotions of all corpora: ``happiness`` and ``happy`` are the same, ``calm`` stays apart."""

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
