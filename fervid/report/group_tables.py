"""Scores by emotion, by group and by person."""

from collections.abc import Sequence

import pandas as pd

from fervid.metrics.aggregation import clip_predictions, confusion
from fervid.metrics.scores import scores
from fervid.report.systems import System
from fervid.schema.columns import grouping_columns, keys
from fervid.schema.tables import Table

FEWEST_OF_A_PERSON = 5  # frames, below which a person's score says nothing


def class_table(systems: Sequence[System]) -> Table:
    """Recall, precision and F1 of each emotion, on the frames of all repeats."""
    rows = []
    for system in systems:
        counts = confusion(system.frames, system.class_names)
        reached = scores(counts)
        for position, name in enumerate(system.class_names):
            rows.append(
                {
                    "system": system.name,
                    "leakage": system.level,
                    "emotion": name,
                    "frames": int(counts[position].sum()),
                    "recall": reached.recall[position],
                    "precision": reached.precision[position],
                    "F1": reached.f1[position],
                }
            )
    formats = dict.fromkeys(("recall", "precision", "F1"), "{:.1%}")
    return Table("classes", "By emotion", pd.DataFrame(rows), formats, ["Frames of all repeats together."])


def group_table(systems: Sequence[System]) -> Table | None:
    """Scores by whatever the manifest knows of people and clips; None if it knows nothing."""
    rows = []
    for system in systems:
        for column in grouping_columns(system.frames):
            for value, part in system.frames.groupby(column):
                clips = clip_predictions(part.drop(columns="run"), system.class_names)
                rows.append(
                    {
                        "system": system.name,
                        "leakage": system.level,
                        "by": column,
                        "value": str(value),
                        "people": keys(part, "subject").nunique() or None,
                        "frames": len(part),
                        **_named(scores(confusion(part, system.class_names)).means(), "frames"),
                        "UAR clips": scores(confusion(clips, system.class_names)).means()["uar"],
                    }
                )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    data["people"] = data["people"].astype("Int64")
    return Table(
        "groups",
        "By what the corpus knows of people and clips",
        data,
        dict.fromkeys(("UAR frames", "WAR frames", "UAR clips"), "{:.1%}"),
        ["A difference between groups of few people may be chance: look at the number of people."],
    )


def subject_table(systems: Sequence[System]) -> Table | None:
    """Scores of each person who is seen often enough; None where nobody is, or nobody is known."""
    rows = []
    for system in systems:
        for person, part in system.frames.groupby(keys(system.frames, "subject")):
            if len(part) < FEWEST_OF_A_PERSON:
                continue
            row = {"system": system.name, "leakage": system.level, "subject": str(person), "frames": len(part)}
            rows.append(row | _named(scores(confusion(part, system.class_names)).means(), "frames"))
    if not rows:
        return None
    formats = dict.fromkeys(("UAR frames", "WAR frames"), "{:.1%}")
    return Table(
        "subjects",
        "By person",
        pd.DataFrame(rows),
        formats,
        [
            "UAR over the emotions the person was tested on. "
            f"People with fewer than {FEWEST_OF_A_PERSON} test frames are left out."
        ],
    )


def _named(values: dict[str, float], level: str) -> dict[str, float]:
    return {f"UAR {level}": values["uar"], f"WAR {level}": values["accuracy"]}
