"""Scores by emotion, by group and by subject."""

from collections.abc import Sequence

import pandas as pd

from fervid.metrics.aggregation import clip_predictions, confusion
from fervid.metrics.scores import scores
from fervid.report.systems import System, sample_noun
from fervid.schema.columns import grouping_columns, keys
from fervid.schema.tables import Table

MIN_SUBJECT_FRAMES = 5  # with fewer test frames the score of a subject means nothing


def class_table(systems: Sequence[System]) -> Table:
    """Returns recall, precision and F1 of each emotion over the test frames of all replicates."""
    rows, samples = [], sample_noun(systems)
    for system in systems:
        counts = confusion(system.frames, system.class_names)
        by_emotion = scores(counts)
        for position, name in enumerate(system.class_names):
            rows.append(
                {
                    "system": system.name,
                    "leakage": system.level,
                    "emotion": name,
                    samples: int(counts[position].sum()),
                    "recall": by_emotion.recall[position],
                    "precision": by_emotion.precision[position],
                    "F1": by_emotion.f1[position],
                }
            )
    formats = dict.fromkeys(("recall", "precision", "F1"), "{:.1%}")
    return Table(
        "classes",
        "Scores by emotion",
        pd.DataFrame(rows),
        formats,
        [f"Computed over the test {samples} of all replicates."],
    )


def group_table(systems: Sequence[System]) -> Table | None:
    """Returns scores by subject attributes and recording conditions; None if the manifest has no such column."""
    rows, samples = [], sample_noun(systems)
    for system in systems:
        for column in grouping_columns(system.frames):
            for value, part in system.frames.groupby(column):
                by_clip = {}
                if samples == "frames":
                    clips = clip_predictions(part.drop(columns="run"), system.class_names)
                    by_clip["UAR clips"] = scores(confusion(clips, system.class_names)).means()["uar"]
                rows.append(
                    {
                        "system": system.name,
                        "leakage": system.level,
                        "by": column,
                        "value": str(value),
                        "subjects": keys(part, "subject").nunique() or None,
                        samples: len(part),
                        **_named(scores(confusion(part, system.class_names)).means(), samples),
                        **by_clip,
                    }
                )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    data["subjects"] = data["subjects"].astype("Int64")
    return Table(
        "groups",
        "Scores by subject attribute and recording condition",
        data,
        dict.fromkeys((f"UAR {samples}", f"WAR {samples}", "UAR clips"), "{:.1%}"),
        ["Differences between groups with few subjects may be due to chance: see the column subjects."],
    )


def subject_table(systems: Sequence[System]) -> Table | None:
    """Returns scores of each subject with enough test frames; None if there is none or the subjects are unknown."""
    rows, samples = [], sample_noun(systems)
    for system in systems:
        for subject, part in system.frames.groupby(keys(system.frames, "subject")):
            if len(part) < MIN_SUBJECT_FRAMES:
                continue
            row = {"system": system.name, "leakage": system.level, "subject": str(subject), samples: len(part)}
            rows.append(row | _named(scores(confusion(part, system.class_names)).means(), samples))
    if not rows:
        return None
    formats = dict.fromkeys((f"UAR {samples}", f"WAR {samples}"), "{:.1%}")
    return Table(
        "subjects",
        "Scores by subject",
        pd.DataFrame(rows),
        formats,
        [
            f"UAR is averaged over the emotions in the test {samples} of the subject. "
            f"Subjects with fewer than {MIN_SUBJECT_FRAMES} test {samples} are omitted."
        ],
    )


def _named(values: dict[str, float], level: str) -> dict[str, float]:
    return {f"UAR {level}": values["uar"], f"WAR {level}": values["accuracy"]}
