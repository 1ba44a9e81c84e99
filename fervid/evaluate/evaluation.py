"""Evaluates stored runs and writes the report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from fervid.errors import InputError
from fervid.evaluate.adaptation import chosen_adaptations, divide_by_prior
from fervid.evaluate.combining import Weights, check_rule, combine, member_weights
from fervid.evaluate.ensemble import adaptation_sentences, gain_sentence, member_table
from fervid.evaluate.members import Member, open_runs
from fervid.evaluate.opening import open_aligned
from fervid.evaluate.parts import evaluate_parts
from fervid.evaluate.posteriors import read_tables
from fervid.evaluate.predicting import check_adaptable, predict_member
from fervid.evaluate.seen_people import seen_people_section
from fervid.evaluate.sentences import emotion_sections, heading, print_output, sentences_on
from fervid.evaluate.table_members import TableMember
from fervid.evaluate.writing import (
    adaptation_entries,
    ensemble_settings,
    joint_validation,
    posterior_entries,
    training_entries,
    worst_leakage,
    write_run,
)
from fervid.metrics.aggregation import confusion, measure
from fervid.metrics.scores import scores
from fervid.report.report import check_resamples, compare
from fervid.report.systems import System
from fervid.report.writing import Section, print_report, write_report
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.emotions import restrict, shared_emotions, shared_name
from fervid.schema.parts import AFFECT, MULTI, UNITS
from fervid.schema.predictions import predictions_table


@dataclass(frozen=True)
class MemberPredictions:
    """Predictions of all members on the same frames, restricted to the scored emotions.

    Attributes:
        members: the members that are runs; the run, followed by its adaptations if there are any.
        tables: the members that are tables of posteriors.
        frames: the N frames, with the columns of the manifest.
        own_corpus: whether the frames are the test subset of the members' own corpus; otherwise they are of another
            corpus.
        emotions: the C scored emotions.
        labels: label of each frame, as the corpus names it.
        true: label of each frame by its scored name.
        is_scored: whether the label of a frame is one of ``emotions``.
        probabilities: probabilities (N, C) of the scored frames, for each member and then for each table.
    """

    members: list[Member]
    tables: list[TableMember]
    frames: pd.DataFrame
    own_corpus: bool
    emotions: list[str]
    labels: pd.Series
    true: pd.Series
    is_scored: np.ndarray
    probabilities: list[np.ndarray]

    @property
    def all_members(self) -> list[Member | TableMember]:
        """The members and the tables, in the order of the weights."""
        return [*self.members, *self.tables]

    @property
    def is_ensemble(self) -> bool:
        """Whether several members are combined; a run and its adaptations are not."""
        return len(self.probabilities) > 1 and not self.adapted

    @property
    def adapted(self) -> list[Member]:
        """The members that are adaptations of the first."""
        return [member for member in self.members if member.adaptation is not None]

    @property
    def as_trained(self) -> list[Member | TableMember]:
        """The members that are not adapted."""
        return self.all_members[: len(self.all_members) - len(self.adapted)]

    def names(self, rule: str) -> list[str]:
        """Names of the members, and of the ensemble if there is one.

        Args:
            rule: how probabilities are combined.
        """
        ensemble = "ensemble" if rule == "mean" else f"ensemble ({rule})"
        return [member.name for member in self.all_members] + [ensemble] * self.is_ensemble


def evaluate(folder: Path, console: Console, *, folders: Sequence[str], config: DictConfig) -> None:
    """Evaluates stored runs on their test subset or on another corpus, and writes a report.

    Args:
        folder: output folder.
        console: console for the main tables.
        folders: run folders; several runs, or runs and tables of posteriors, form an ensemble.
        config: configuration composed from ``conf/evaluate.yaml``.

    Raises:
        InputError: if a run, the corpus or a setting cannot be used.
    """
    check_resamples(config.resamples)
    if config.subjects not in ("all", "unseen"):
        raise InputError(f"subjects={config.subjects} is unknown: choose all or unseen.")
    rule = check_rule(config.combine)
    runs = open_runs(folders)
    if any(run.task in (AFFECT, UNITS, MULTI) for run in runs):
        evaluate_parts(folder, console, runs=runs, config=config)
        return
    known = [name for run in runs for name in run.class_names]
    posteriors = read_tables(config.posteriors, config.posterior_classes, config.posterior_values, known)
    weights = member_weights(config.weights, runs, [table.name for table in posteriors], rule)
    adaptations = chosen_adaptations(config, len(runs) + len(posteriors))
    check_adaptable(runs[0], adaptations, config.trust)
    own_corpus = config.get("dataset") is None
    opened = open_aligned(runs, posteriors, config)
    members, tables, sentences, left_out = opened.members, opened.tables, opened.sentences, opened.left_out
    trained = members[0]
    members += [replace(trained, name=each.name(trained.name), adaptation=each) for each in adaptations]

    predicted = _predict_all(members, tables, members[opened.base].frames, own_corpus, config, console)
    written = _write_runs(folder, predicted, weights, config)
    as_trained = [member for member in members if member.adaptation is None]
    sentences += sentences_on(as_trained, written, own_corpus, left_out, config.subjects)
    sections = _main_sections(predicted, written, weights, sentences, config)
    compared = compare(written, {}, resamples=config.resamples, seed=config.seed)
    _write_report(folder, predicted, [*sections, *compared], rule)
    # Not the summary of the report, which pools replicates: the table of members lists each run.
    print_report(console, sections)
    print_output(console, folder, is_ensemble=predicted.is_ensemble)


def _predict_all(
    members: list[Member],
    tables: list[TableMember],
    frames: pd.DataFrame,
    own_corpus: bool,
    config: DictConfig,
    console: Console,
) -> MemberPredictions:
    """Predicts the frames with every member, and looks them up in every table."""
    all_members: list[Member | TableMember] = [*members, *tables]
    vocabularies = [member.class_names for member in all_members]
    labels = frames["emotion"]
    emotions = vocabularies[0] if own_corpus else shared_emotions(vocabularies, sorted(labels.unique()))
    for member in members:
        console.print(
            f"{member.name}: {len(member.frames)} {member.run.samples} of {member.datamodule.corpus}", highlight=False
        )
        if member.adaptation is None or member.adaptation.changes_network:
            predict_member(member, config, own_corpus)
        else:
            member.probabilities, member.classes = members[0].probabilities, members[0].classes
    for table in tables:
        table.look_up(frames, emotions if own_corpus else ())
    true = labels if own_corpus else labels.map(shared_name)
    is_scored = true.isin(emotions).to_numpy()
    probabilities = [restrict(member.probabilities, member.classes, emotions) for member in all_members]
    for number, member in enumerate(members):
        if member.adaptation is not None and not member.adaptation.changes_network:
            # The mean is that over all frames: to omit those without a scored emotion, labels would be needed.
            probabilities[number], prior = divide_by_prior(probabilities[number], keys(frames, "clip"))
            member.adapted = {"prior": dict(zip(emotions, prior.tolist(), strict=True))}
    scored = [each[is_scored] for each in probabilities]
    return MemberPredictions(members, tables, frames, own_corpus, emotions, labels, true, is_scored, scored)


def _write_runs(folder: Path, predicted: MemberPredictions, weights: Weights, config: DictConfig) -> list[Run]:
    """Writes the predictions of each member, and of the ensemble, as run folders."""
    members, own_corpus, emotions = predicted.members, predicted.own_corpus, predicted.emotions
    base = [training_entries(member.run, None if own_corpus else config) for member in members]
    base = [adaptation_entries(results, member) for results, member in zip(base, members, strict=True)]
    frames = predicted.frames[predicted.is_scored].assign(emotion=predicted.true[predicted.is_scored])
    names = [name.replace("/", "_").replace(" + ", "_").replace(" ", "_") for name in predicted.names(config.combine)]
    places = [folder / "members" / f"{number}_{name}" for number, name in enumerate(names, start=1)]
    written = []
    for place, member, probabilities, results in zip(places, members, predicted.probabilities, base, strict=False):
        has_validation = own_corpus and member.run.has_validation and member.adaptation is None
        validation = member.run.validation if has_validation else None
        predictions = predictions_table(frames, probabilities, emotions)
        measured = measure(predictions, emotions)
        written.append(
            write_run(place, results, member, predictions, measured, member.leakage, validation, member.batches)
        )
    for place, table, probabilities in zip(
        places[len(members) :], predicted.tables, predicted.probabilities[len(members) :], strict=False
    ):
        results = posterior_entries(table.table, base[0])
        predictions = predictions_table(frames, probabilities, emotions)
        measured = measure(predictions, emotions)
        written.append(write_run(place, results, members[0], predictions, measured, table.leakage, None, None))
    if predicted.is_ensemble:
        written.append(_write_ensemble(folder / "ensemble", predicted, frames, base, weights, config))
    return written


def _write_ensemble(
    place: Path,
    predicted: MemberPredictions,
    frames: pd.DataFrame,
    base: list[dict[str, Any]],
    weights: Weights,
    config: DictConfig,
) -> Run:
    """Writes the predictions of the ensemble as a run folder; ``base`` has the entries of the members that are runs."""
    members, runs = predicted.members, [member.run for member in predicted.members]
    combined = combine(predicted.probabilities, weights.values, config.combine)
    worst = worst_leakage([member.leakage for member in predicted.all_members])
    checked = [member.batches for member in members if member.batches is not None]
    batches = min(checked, key=lambda each: each.holds, default=None)
    sources = [*(str(run.folder) for run in runs), *(table.table.source for table in predicted.tables)]
    results = ensemble_settings(base, sources, weights, config.combine)
    validation = None
    if predicted.own_corpus and not predicted.tables:
        validation = joint_validation(runs, weights.values, predicted.emotions, config.combine)
    predictions = predictions_table(frames, combined, predicted.emotions)
    measured = measure(predictions, predicted.emotions)
    return write_run(place, results, members[0], predictions, measured, worst, validation, batches)


def _main_sections(
    predicted: MemberPredictions,
    written: Sequence[Run],
    weights: Weights,
    sentences: Sequence[str],
    config: DictConfig,
) -> list[Section]:
    """Builds the sections for the terminal: emotions of another corpus, members and ensemble."""
    members, is_ensemble = predicted.as_trained, predicted.is_ensemble
    names = predicted.names(config.combine)
    systems = [System({}, [run], {}, name) for run, name in zip(written, names, strict=True)]
    options = {"resamples": config.resamples, "seed": config.seed}
    about = weights.describe(config.combine) if is_ensemble else ""
    if is_ensemble:
        sentences = [gain_sentence(systems[-1], systems[:-1], **options), *sentences]
    sentences = [*adaptation_sentences(systems, predicted.adapted, **options), *sentences]
    uar_all_emotions: list[float | None] | None = None
    if not predicted.own_corpus:
        true = predicted.true[predicted.is_scored]
        uar_all_emotions = [_uar_over_all_emotions(member, true, predicted.is_scored) for member in members]
        uar_all_emotions += [None] * (len(systems) - len(members))
    shown = [*weights.values.tolist(), *[None] * len(systems)][: len(systems)]
    table = member_table(systems, shown, uar_all_emotions, about, **options)
    title = "Members and ensemble" if is_ensemble else "Scores of the run"
    if predicted.adapted:
        title = "Scores of the run as trained and adapted"
    sections = [Section(title, [table], sentences=sentences, terminal=True)]
    if predicted.own_corpus:
        return sections
    as_trained = [member for member in predicted.members if member.adaptation is None]
    seen = {member.name: member.seen_people for member in as_trained if member.seen_people is not None}
    if seen:
        sections.append(seen_people_section(seen))
    return [*emotion_sections(members, predicted.labels, predicted.emotions), *sections]


def _write_report(folder: Path, predicted: MemberPredictions, sections: Sequence[Section], rule: str) -> None:
    # Adapted members are rows of the tables, too many for a title.
    names = predicted.names(rule)[: 1 if predicted.adapted else None]
    title, summary = heading(names, predicted.members[0].datamodule, predicted.own_corpus)
    write_report(folder, title, summary, sections)


def _uar_over_all_emotions(member: Member | TableMember, true: pd.Series, is_scored: np.ndarray) -> float:
    """UAR over the shared labels if the member may predict any of its emotions."""
    predicted = np.array(member.classes, dtype=object)[member.probabilities[is_scored].argmax(axis=1)]
    table = pd.DataFrame({"label": true.to_numpy(), "predicted": predicted})
    return float(scores(confusion(table, member.classes)).uar)
