"""Leakage levels of a split, ordered from best to worst."""

from enum import StrEnum


class LeakageLevel(StrEnum):
    """How much information a split leaks from training to test; the value of a level is its label.

    Attributes:
        sentence: what the scores under such a split mean, for readers of a model card.
        phrase: test data of the network, to follow "it recognises 60% of".
        colour: colour of the level in figures and tables, as ``#rrggbb``; distinguishable with colour blindness.
    """

    sentence: str
    phrase: str
    colour: str

    def __new__(cls, label: str, sentence: str = "", phrase: str = "", colour: str = "") -> "LeakageLevel":
        level = str.__new__(cls, label)
        level._value_ = label
        level.sentence, level.phrase, level.colour = sentence, phrase, colour
        return level

    SUBJECT_INDEPENDENT = (
        "subject-independent",
        "No subject is in more than one subset: the scores hold for people never seen in training.",
        "pictures of people it had never seen",
        "#0072b2",
    )
    SUBJECT_INDEPENDENT_BY_NAME = (
        "subject-independent by name",
        "No subject name is in more than one subset: if each name is one person, the scores hold for people never seen "
        "in training. That has not been verified.",
        "pictures of people whose names it had never seen (the names are not verified)",
        "#009e73",
    )
    UNKNOWN_SUBJECTS = (
        "unknown-subjects",
        "The subjects are unknown, so the same people may have been trained and tested on: for people never seen in "
        "training the scores may be too high.",
        "pictures of people who may or may not have been in training",
        "#56b4e9",
    )
    SUBJECT_DEPENDENT = (
        "subject-dependent",
        "The test subjects were seen in training, in other recordings: for people never seen in training the scores "
        "are too high.",
        "pictures of people it had seen in training, in other clips",
        "#e69f00",
    )
    LEAKY = (
        "leaky",
        "The same recordings or pictures, or unknown subjects that could not be kept apart, were trained and tested "
        "on: the scores say almost nothing about new pictures.",
        "frames of clips it had seen in training, which inflates the score",
        "#d55e00",
    )

    @property
    def rank(self) -> int:
        """Position in the order, from 0 (best)."""
        return list(LeakageLevel).index(self)
