"""What a reader of an evaluation's scores has to know."""

from collections.abc import Sequence

import pandas as pd

from fervid.evaluate.cross_corpus import ALL_SHARED, emotion_table, first_choice_table
from fervid.evaluate.members import Member
from fervid.report.writing import Section
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.emotions import shared_name


def sentences_on(
    members: Sequence[Member], written: Sequence[Run], own: bool, left_out: int, subjects: str
) -> list[str]:
    """What a reader of the scores has to know."""
    frames = members[0].frames
    sentences = []
    for member, run in zip(members, written, strict=False):
        corpus, found = member.datamodule.corpus, member.leakage
        if own and not left_out:
            before, now = member.run.metric("test/uar"), run.metric("test/uar")
            same = abs(before - now) < 1e-4 or before != before
            if not same:
                sentences.append(
                    f"{member.name}: UAR {now:.1%} on frames, where the run itself reported {before:.1%}: faces are "
                    "found or weights are multiplied otherwise by other libraries."
                )
            else:
                sentences.append(f"{member.name}: the same UAR as the run itself reported, {before:.1%} on frames.")
        if not own and found["subjects"]["count"] + found["clips"]["count"]:
            sentences.append(
                f"{member.name} was trained or validated on {found['subjects']['count']} of these "
                f"{keys(frames, 'subject').nunique()} people and on {found['clips']['count']} of these "
                f"{keys(frames, 'clip').nunique()} clips of {corpus}, going by their names: its scores are "
                f"{found['level']} and promise too much; subjects=unseen leaves them out."
            )
    if subjects == "unseen":
        sentences.append(f"{left_out} frames of people or clips that a member had seen are left out.")
    strange = [member.name for member in members if not member.names_tell]
    if not own and (strange or frames["subject"].isna().any()):
        sentences.append(
            f"Nobody can tell whether {', '.join(strange) or 'a member'} was trained on people of this corpus: "
            + ("the names in a folder of files say nothing elsewhere." if strange else "who is seen is unknown.")
        )
    if not own:
        sentences.append("Pictures that look the same were not searched for between this corpus and the runs' own.")
    return sentences


def _shared_and_dropped(labels: pd.Series, models: Sequence[Sequence[str]], shared: Sequence[str]) -> list[str]:
    counts = labels.value_counts()
    dropped = [f"{emotion} ({counts[emotion]} frames)" for emotion in sorted(counts.index)
               if shared_name(emotion) not in shared]  # fmt: skip
    unused = sorted({name for names in models for name in names if shared_name(name) not in shared})
    sentences = [f"Shared by model and corpus, and scored: {', '.join(shared)}."]
    if dropped:
        sentences.append(f"Of the corpus left out: {', '.join(dropped)}.")
    if unused:
        sentences.append(f"Of the model left out: {', '.join(unused)}; the rest of its probabilities is scaled up.")
    return sentences


def emotion_sections(members: Sequence[Member], labels: pd.Series, emotions: Sequence[str]) -> list[Section]:
    """Which emotions are shared, and what the members say before the others are left out."""
    vocabularies = [member.run.class_names for member in members]
    answers = [(member.name, member.probabilities, member.classes) for member in members]
    choices = first_choice_table(labels, answers, emotions)
    told = _shared_and_dropped(labels, vocabularies, emotions)
    for _, row in choices.data[choices.data["the frames show"] == ALL_SHARED].iterrows():
        told.append(
            f"{row['model']}: on {row['outside']:.0%} of the {row['frames']} frames that are scored, its own first "
            "choice was an emotion that is not shared."
        )
    shown = Section("Emotions", [emotion_table(labels, vocabularies, emotions)], sentences=told, terminal=True)
    return [shown, Section("First choices", [choices])]  # too wide for a terminal
