"""Leakage levels of a run, ordered from best to worst."""

from enum import StrEnum


class LeakageLevel(StrEnum):
    """How much information leaks from training to test; the value of a level is its label.

    Most levels describe a split. The two levels on pretraining describe initial weights that were trained on a corpus
    of the run, and a run has the worse of the two.

    Attributes:
        sentence: what the scores at this level mean, for readers of a model card.
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
    SUBJECT_INDEPENDENT_BY_CLUSTERING = (
        "subject-independent by clustering",
        "The subjects are clusters of face embeddings, and no cluster is in more than one subset: the scores hold for "
        "people never seen in training as far as the clustering is right. Its measured errors are in the results.",
        "pictures of people whom a clustering of faces keeps apart from those in training",
        "#332288",
    )
    UNKNOWN_SUBJECTS = (
        "unknown-subjects",
        "The subjects are unknown, so the same people may have been trained and tested on: for people never seen in "
        "training the scores may be too high.",
        "pictures of people who may or may not have been in training",
        "#56b4e9",
    )
    SUBJECTS_IN_PRETRAINING = (
        "subjects in pretraining",
        "The initial weights were trained on subjects of this corpus, without their emotions: for people never seen in "
        "training or pretraining the scores may be too high.",
        "pictures of people that its initial weights may have been trained on",
        "#cc79a7",
    )
    SUBJECT_DEPENDENT = (
        "subject-dependent",
        "The test subjects were seen in training, in other recordings: for people never seen in training the scores "
        "are too high.",
        "pictures of people it had seen in training, in other clips",
        "#e69f00",
    )
    LABELS_IN_PRETRAINING = (
        "labels in pretraining",
        "The initial weights were trained on emotion labels of this corpus, perhaps of the test pictures: whatever the "
        "split, the scores say little about new pictures.",
        "pictures whose emotions its initial weights may have been trained on",
        "#b8860b",
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
