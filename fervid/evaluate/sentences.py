"""Sentences that explain the scores of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from fervid.data.datamodule import EmotionDataModule
from fervid.evaluate.cross_corpus import ALL_SHARED, all_emotions_table, emotion_table
from fervid.evaluate.members import Member
from fervid.evaluate.table_members import TableMember
from fervid.metrics.parts import SCORE_TITLES
from fervid.report.writing import Section
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.emotions import shared_name


def sentences_on(
    members: Sequence[Member],
    written: Sequence[Run],
    own_corpus: bool,
    left_out: int,
    subjects: str,
    score: str = "uar",
) -> list[str]:
    """Returns sentences on reproduced scores, overlap with the training data and omitted frames.

    Args:
        members: the members.
        written: the written runs.
        own_corpus: whether the frames are the test subset of the members' own corpus.
        left_out: number of omitted frames.
        subjects: ``all`` or ``unseen``.
        score: the main score of the task.
    """
    title = SCORE_TITLES[score]

    def describe(value: float) -> str:
        return f"{value:.3f}" if score in ("ccc", "mean_score") else f"{value:.1%}"

    frames = members[0].frames
    sentences = []
    for member, run in zip(members, written, strict=False):
        corpus, found = member.datamodule.corpus, member.leakage
        if member.batches is not None:
            sentences.append(f"{member.name}: {member.batches.sentence}")
        if own_corpus and not left_out and member.is_whole:
            before, now = (each.metric(f"test/{score}") for each in (member.run, run))
            same = abs(before - now) < 1e-4 or before != before
            if not same:
                precision = member.run.setting("trainer.precision")
                sentences.append(
                    f"{member.name}: {title} of {describe(now)} on frames, but the run recorded {describe(before)}. "
                    + (
                        f"The run was tested with trainer.precision={precision}, this evaluation uses float32."
                        if "mixed" in str(precision)
                        else "Other library versions may detect faces or compute the network differently."
                    )
                )
            else:
                sentences.append(
                    f"{member.name}: the {title} of {describe(before)} on frames equals the value recorded by the run."
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


def heading(names: Sequence[str], datamodule: EmotionDataModule, own_corpus: bool) -> tuple[str, list[str]]:
    """Returns the title of the report and sentences below it.

    Args:
        names: names of the members and the ensemble.
        datamodule: the corpus.
        own_corpus: whether it is that of the members.
    """
    title = f"Evaluation of {', '.join(names)} on {datamodule.corpus}{', test subset' if own_corpus else ''}"
    rendered = "The corpus is rendered: scores show that the protocol works, not how well emotions are recognised."
    return title, [rendered] if datamodule.rendered else []


def print_output(console: Console, folder: Path, *, is_ensemble: bool) -> None:
    """Prints what was written.

    Args:
        console: console.
        folder: output folder.
        is_ensemble: whether there is an ensemble.
    """
    console.print(
        f"Output: {folder} (report.html, report.md, tables/, figures/, members/{', ensemble/' if is_ensemble else ''})",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


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
