"""Sentences that explain the scores of an evaluation."""

from collections.abc import Sequence

import pandas as pd

from fervid.evaluate.cross_corpus import ALL_SHARED, all_emotions_table, emotion_table
from fervid.evaluate.members import Member
from fervid.evaluate.table_members import TableMember
from fervid.report.writing import Section
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.emotions import shared_name


def sentences_on(
    members: Sequence[Member], written: Sequence[Run], own_corpus: bool, left_out: int, subjects: str
) -> list[str]:
    """Returns sentences on reproduced scores, overlap with the training data and omitted frames."""
    frames = members[0].frames
    sentences = []
    for member, run in zip(members, written, strict=False):
        corpus, found = member.datamodule.corpus, member.leakage
        if member.batches is not None:
            sentences.append(f"{member.name}: {member.batches.sentence}")
        if own_corpus and not left_out and member.is_whole:
            before, now = member.run.metric("test/uar"), run.metric("test/uar")
            same = abs(before - now) < 1e-4 or before != before
            if not same:
                precision = member.run.setting("trainer.precision")
                sentences.append(
                    f"{member.name}: UAR of {now:.1%} on frames, but the run recorded {before:.1%}. "
                    + (
                        f"The run was tested with trainer.precision={precision}, this evaluation uses float32."
                        if "mixed" in str(precision)
                        else "Other library versions may detect faces or compute the network differently."
                    )
                )
            else:
                sentences.append(
                    f"{member.name}: the UAR of {before:.1%} on frames equals the value recorded by the run."
                )
        if not own_corpus and found["subjects"]["count"] + found["clips"]["count"]:
            sentences.append(
                f"{member.name} was trained or validated on {found['subjects']['count']} of these "
                f"{keys(frames, 'subject').nunique()} subjects and on {found['clips']['count']} of these "
                f"{keys(frames, 'clip').nunique()} clips of {corpus}, according to their names. Its scores "
                f"are {found['level']} and too optimistic; subjects=unseen omits these frames."
            )
    if subjects == "unseen":
        sentences.append(
            f"{left_out} frames of subjects or clips that a member was trained or validated on"
            + (", or that match them by face," if members[0].seen_people is not None else "")
            + " are omitted."
        )
    incomparable = [member.name for member in members if not member.names_comparable]
    if not own_corpus and (incomparable or frames["subject"].isna().any()):
        sentences.append(
            f"It is unknown whether {', '.join(incomparable) or 'a member'} was trained on subjects of this corpus: "
            + ("names in different folders cannot be compared." if incomparable else "some subjects are unknown.")
        )
    if not own_corpus:
        sentences.append("Near-duplicates between this corpus and the training data were not searched for.")
    return sentences


def _shared_and_dropped(labels: pd.Series, models: Sequence[Sequence[str]], shared: Sequence[str]) -> list[str]:
    counts = labels.value_counts()
    dropped = [f"{emotion} ({counts[emotion]} frames)" for emotion in sorted(counts.index)
               if shared_name(emotion) not in shared]  # fmt: skip
    unused = sorted({name for names in models for name in names if shared_name(name) not in shared})
    sentences = [f"Scored emotions, shared by model and corpus: {', '.join(shared)}."]
    if dropped:
        sentences.append(f"Omitted emotions of the corpus: {', '.join(dropped)}.")
    if unused:
        sentences.append(
            f"Omitted emotions of the model: {', '.join(unused)}; the remaining probabilities are renormalised."
        )
    return sentences


def emotion_sections(
    members: Sequence[Member | TableMember], labels: pd.Series, emotions: Sequence[str]
) -> list[Section]:
    """Builds the sections on shared emotions and on predictions over all emotions."""
    vocabularies = [member.class_names for member in members]
    predictions = [(member.name, member.probabilities, member.classes) for member in members]
    all_emotions = all_emotions_table(labels, predictions, emotions)
    sentences = _shared_and_dropped(labels, vocabularies, emotions)
    for _, row in all_emotions.data[all_emotions.data["label"] == ALL_SHARED].iterrows():
        sentences.append(
            f"{row['model']}: on {row['not shared']:.0%} of the {row['frames']} scored frames, its most "
            "probable emotion is not shared."
        )
    shown = Section("Emotions", [emotion_table(labels, vocabularies, emotions)], sentences=sentences, terminal=True)
    return [shown, Section("Predictions over all emotions", [all_emotions])]  # too wide for a terminal
