"""An evaluation of stored runs, top to bottom."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from fervid.errors import InputError
from fervid.evaluate.ensemble import gain_sentence, member_table, member_weights, soft_vote
from fervid.evaluate.members import Member, align, ask, leakage, leave_out_seen, open_members, open_runs
from fervid.evaluate.sentences import emotion_sections, sentences_on
from fervid.evaluate.writing import (
    ensemble_settings,
    joint_validation,
    training_entries,
    write_run,
)
from fervid.metrics.aggregation import confusion
from fervid.metrics.scores import scores
from fervid.report.report import check_resamples, compare
from fervid.report.systems import System
from fervid.report.writing import Section, print_report, write_report
from fervid.runs.run import Run
from fervid.schema.emotions import merge_classes, restrict, shared_emotions, shared_name
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.predictions import predictions_table


@dataclass(frozen=True)
class Answers:
    """What the members say of the same frames, in the emotions that are scored.

    Attributes:
        members: those who were asked.
        own: whether they were asked about the test side of their own corpus; else about another corpus.
        emotions: the C that are scored.
        labels: the emotion of each frame, by the names of the corpus.
        true: the same by the names that are scored.
        kept: whether a frame shows one of ``emotions``.
        probabilities: for each member those of the frames kept, shape (N, C).
    """

    members: list[Member]
    own: bool
    emotions: list[str]
    labels: pd.Series
    true: pd.Series
    kept: np.ndarray
    probabilities: list[np.ndarray]


def evaluate(folder: Path, console: Console, *, folders: Sequence[str], config: DictConfig) -> None:
    """Shows stored runs the frames of a test split or of another corpus, scores what they say, and reports.

    Args:
        folder: where to.
        console: where the main tables are printed.
        folders: of the runs; several are an ensemble.
        config: what ``conf/evaluate.yaml`` composes.

    Raises:
        InputError: if a run, the corpus or a setting cannot be used.
    """
    check_resamples(config.resamples)
    if config.subjects not in ("all", "unseen"):
        raise InputError(f"subjects={config.subjects} is unknown: choose all or unseen.")
    runs = open_runs(folders)
    weights = member_weights(config.weights, runs)
    own = config.get("dataset") is None
    if config.root is not None and not own:
        raise InputError(f"root={config.root} is where a run's own corpus lies: give dataset.root for another corpus.")
    members = open_members(runs, config)
    align(members, own)
    left_out = leave_out_seen(members) if config.subjects == "unseen" else 0
    for member in members:
        member.leakage = leakage(member, own, left_out)

    answers = _ask_all(members, own, config, console)
    written = _write_runs(folder, answers, weights, config)
    sections = _main_sections(answers, written, weights, left_out, config)
    compared = compare(written, {}, resamples=config.resamples, seed=config.seed)
    _write_report(folder, answers, [*sections, *compared])
    # The summary of a report pools repeats; the table of the members says the same of each by itself.
    print_report(console, sections)
    console.print(
        f"everything lies in {folder}: report.html, report.md, tables/, figures/, members/"
        f"{', ensemble/' if len(members) > 1 else ''}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _ask_all(members: list[Member], own: bool, config: DictConfig, console: Console) -> Answers:
    """Shows every member its frames."""
    vocabularies = [member.run.class_names for member in members]
    labels = members[0].frames["emotion"]
    emotions = vocabularies[0] if own else shared_emotions(vocabularies, sorted(labels.unique()))
    for member in members:
        console.print(f"{member.name}: {len(member.frames)} frames of {member.datamodule.corpus}", highlight=False)
        said = ask(member, config.device, config.trust)
        names = [name if own else shared_name(name) for name in member.run.class_names]
        member.probabilities, member.classes = merge_classes(said, names)
    true = labels if own else labels.map(shared_name)
    kept = true.isin(emotions).to_numpy()
    probabilities = [restrict(member.probabilities, member.classes, emotions)[kept] for member in members]
    return Answers(members, own, emotions, labels, true, kept, probabilities)


def _write_runs(folder: Path, answers: Answers, weights: np.ndarray, config: DictConfig) -> list[Run]:
    """Leaves what each member says, and the ensemble of several, in the form of runs."""
    members, own, emotions = answers.members, answers.own, answers.emotions
    base = [training_entries(member.run, None if own else config) for member in members]
    frames = members[0].frames[answers.kept].assign(emotion=answers.true[answers.kept])
    written = []
    for number, (member, said, results) in enumerate(zip(members, answers.probabilities, base, strict=True), start=1):
        place = folder / "members" / f"{number}_{member.name.replace('/', '_')}"
        validation = member.run.validation if own and member.run.has_validation else None
        predictions = predictions_table(frames, said, emotions)
        written.append(write_run(place, results, member, predictions, emotions, member.leakage, validation))
    if len(members) > 1:
        runs = [member.run for member in members]
        predictions = predictions_table(frames, soft_vote(answers.probabilities, weights), emotions)
        worst = max((member.leakage for member in members), key=lambda leakage: LeakageLevel(leakage["level"]).rank)
        results = ensemble_settings(base) | {
            "ensemble": {"members": [str(run.folder) for run in runs], "weights": weights.tolist()}
        }
        validation = joint_validation(runs, weights, emotions) if own else None
        written.append(write_run(folder / "ensemble", results, members[0], predictions, emotions, worst, validation))
    return written


def _main_sections(
    answers: Answers, written: Sequence[Run], weights: np.ndarray, left_out: int, config: DictConfig
) -> list[Section]:
    """The sections that the terminal shows: emotions of another corpus, members, and the ensemble of several."""
    members, is_ensemble = answers.members, len(answers.members) > 1
    names = _names(answers)
    systems = [System({}, [run], {}, name) for run, name in zip(written, names, strict=True)]
    options = {"resamples": config.resamples, "seed": config.seed}
    sentences = sentences_on(members, written, answers.own, left_out, config.subjects)
    if is_ensemble:
        sentences.insert(0, gain_sentence(systems[-1], systems[:-1], **options))
    own_choice: list[float | None] | None = None
    if not answers.own:
        true = answers.true[answers.kept]
        own_choice = [_uar_of_own_choice(member, true, answers.kept) for member in members]
        own_choice += [None] * is_ensemble
    table = member_table(systems, [*weights.tolist(), None][: len(systems)], own_choice, **options)
    title = "Members and ensemble" if is_ensemble else "Scores in short"
    sections = [Section(title, [table], sentences=sentences, terminal=True)]
    return sections if answers.own else [*emotion_sections(members, answers.labels, answers.emotions), *sections]


def _write_report(folder: Path, answers: Answers, sections: Sequence[Section]) -> None:
    names, datamodule = _names(answers), answers.members[0].datamodule
    where = f"{datamodule.corpus}{', test split' if answers.own else ''}"
    title = f"What {', '.join(names)} {'reaches' if len(names) == 1 else 'reach'} on {where}"
    summary = []
    if datamodule.rendered:
        summary = ["Rendered people: such scores show that the protocol runs, not what it reaches."]
    write_report(folder, title, summary, sections)


def _names(answers: Answers) -> list[str]:
    """Of the members, and of the ensemble of several."""
    return [member.name for member in answers.members] + ["ensemble"] * (len(answers.members) > 1)


def _uar_of_own_choice(member: Member, true: pd.Series, kept: np.ndarray) -> float:
    """The mean recall of the shared emotions if the member may choose among all that it knows."""
    predicted = np.array(member.classes, dtype=object)[member.probabilities[kept].argmax(axis=1)]
    table = pd.DataFrame({"label": true.to_numpy(), "predicted": predicted})
    return float(scores(confusion(table, member.classes)).uar)
