"""Evaluates runs of valence and arousal, of action units, and of several targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from fervid.data.part_targets import MEMBERS
from fervid.errors import InputError, listed
from fervid.evaluate.combining import Weights, member_weights
from fervid.evaluate.member_network import MemberNetwork
from fervid.evaluate.members import Member
from fervid.evaluate.opening import Opened, open_aligned
from fervid.evaluate.seen_people import seen_people_section
from fervid.evaluate.sentences import heading, print_output, sentences_on
from fervid.evaluate.writing import ensemble_settings, training_entries, worst_leakage, write_run
from fervid.metrics.parts import main_score, measure_parts
from fervid.report.part_tables import member_scores
from fervid.report.report import compare
from fervid.report.systems import System
from fervid.report.writing import Section, print_report, write_report
from fervid.runs.load import load_run
from fervid.runs.run import Run
from fervid.schema.emotions import merge_classes, restrict, shared_emotions, shared_name
from fervid.schema.parts import AFFECT, CLASSIFICATION, EMOTION, MULTI, UNITS, Part
from fervid.schema.predictions import parts_table


def evaluate_parts(folder: Path, console: Console, *, runs: Sequence[Run], config: DictConfig) -> None:
    """Evaluates runs of a task with parts, and writes a report.

    On another corpus, only the parts and action units with labels are scored. Several runs form an ensemble: the
    weighted mean of their predictions.

    Args:
        folder: output folder.
        console: console for the main tables.
        runs: the runs.
        config: configuration composed from ``conf/evaluate.yaml``.

    Raises:
        InputError: if the runs are of different tasks, or a setting or the corpus cannot be used.
    """
    weights = _check(runs, config)
    own_corpus = config.get("dataset") is None
    opened = open_aligned(runs, [], config)
    members, frames = opened.members, opened.members[opened.base].frames
    parts, sentences = (runs[0].parts, []) if own_corpus else _scored_parts(runs[0].parts, members)
    sentences = [*opened.sentences, *sentences]
    values, is_scored = [], np.ones(len(frames), dtype=bool)
    for member in members:
        console.print(
            f"{member.name}: {len(member.frames)} {member.run.samples} of {member.datamodule.corpus}", highlight=False
        )
        model = load_run(member.run.folder, trust=config.trust)
        predicted = MemberNetwork(member, model, config.device).answers()
        values.append({part.name: _chosen(predicted, member.run.parts, part, own_corpus) for part in parts})
    emotions = next((part.names for part in parts if part.name == EMOTION), None)
    if emotions is not None and not own_corpus:
        frames = frames.assign(emotion=frames["emotion"].map(shared_name))
        is_scored = frames["emotion"].isin(emotions).to_numpy()
    scored = frames[is_scored]
    values = [{name: each[is_scored] for name, each in found.items()} for found in values]

    written = _write_runs(folder, opened, scored, parts, values, weights, config)
    score = main_score(parts)
    if parts == runs[0].parts:  # otherwise the main score is another one
        sentences += sentences_on(members, written, own_corpus, opened.left_out, config.subjects, score)
    names = [member.name for member in members] + ["ensemble"] * (len(members) > 1)
    systems = [System({}, [run], {}, name) for run, name in zip(written, names, strict=True)]
    table = member_scores(systems, resamples=config.resamples, seed=config.seed)
    if len(members) > 1:
        shares = ", ".join(f"{member.name} {share:.2f}" for member, share in zip(members, weights.values, strict=True))
        sentences.insert(0, f"The ensemble is the weighted mean of the members' predictions; weights: {shares}.")
    title = "Members and ensemble" if len(members) > 1 else "Scores of the run"
    sections = [Section(title, table, sentences=sentences, terminal=True)]
    seen = {member.name: member.seen_people for member in members if member.seen_people is not None}
    if seen:
        sections.append(seen_people_section(seen))
    compared = compare(written, {}, resamples=config.resamples, seed=config.seed)
    title, summary = heading(names, members[0].datamodule, own_corpus)
    write_report(folder, title, summary, [*sections, *compared])
    print_report(console, sections)
    print_output(console, folder, is_ensemble=len(members) > 1)


def _check(runs: Sequence[Run], config: DictConfig) -> Weights:
    """Checks that the runs and the settings fit together, and returns the weights of the members."""
    first = runs[0]
    for run in runs[1:]:
        if run.task != first.task or run.parts != first.parts:
            raise InputError(
                f"{first.folder} and {run.folder} do not predict the same: give runs of the same task with the same "
                "emotions and action units."
            )
    for name, value in (("posteriors", config.posteriors), ("posterior_classes", config.posterior_classes)):
        if value is not None:
            raise InputError(f"{name}={value} is for runs of task=classification, not of task={first.task}.")
    if config.adapt is not None:
        raise InputError(f"adapt={config.adapt} is for runs of task=classification, not of task={first.task}.")
    if config.combine != "mean":
        raise InputError(f"combine={config.combine} is for runs of task=classification: leave combine=mean.")
    if config.weights in ("validation", "learned"):
        raise InputError(
            f"weights={config.weights} is for runs of task=classification: give a list of numbers, or none for equal "
            "weights."
        )
    return member_weights(config.weights, runs)


def _scored_parts(parts: Sequence[Part], members: Sequence[Member]) -> tuple[list[Part], list[str]]:
    """Returns the parts of which another corpus has labels, and sentences on what is omitted.

    Raises:
        InputError: if there are none, or a label is invalid.
    """
    frames, found, sentences = members[0].frames, [], []
    for part in parts:
        if part.name == EMOTION:
            corpus = sorted(frames["emotion"].unique())
            emotions = shared_emotions([part.names], corpus)
            omitted = int((~frames["emotion"].map(shared_name).isin(emotions)).sum())
            sentences.append(f"Scored emotions, shared by model and corpus: {', '.join(emotions)}.")
            if omitted:
                sentences.append(f"{omitted} frames of other emotions are omitted, also from the other targets.")
            found.append(Part(EMOTION, tuple(emotions)))
            continue
        with_labels = [name for name in part.names if name in frames and frames[name].notna().any()]
        if part.name == AFFECT and with_labels != list(part.names):
            with_labels = []
        if with_labels:
            MEMBERS[part.name](*([with_labels] if part.name == UNITS else [])).values(frames)  # checks the labels
            found.append(Part(part.name, tuple(with_labels)))
        missing = [title for title, name in zip(part.titles, part.names, strict=True) if name not in with_labels]
        if missing:
            sentences.append(f"The corpus has no labels of {listed(missing)}: they are not scored.")
    if not found:
        names = " or ".join(column for part in parts for column in part.labels[:2])
        raise InputError(
            f"{members[0].datamodule.corpus} has no labels of what the run predicts: give a corpus with columns such "
            f"as {names}."
        )
    return found, sentences


def _chosen(predicted: dict[str, np.ndarray], own_parts: Sequence[Part], part: Part, own_corpus: bool) -> np.ndarray:
    """Returns the predictions (N, len(part.names)) of the scored names of a part."""
    names = next(own.names for own in own_parts if own.name == part.name)
    values = predicted[part.name]
    if part.name == EMOTION and not own_corpus:
        probabilities, classes = merge_classes(values, [shared_name(name) for name in names])
        return restrict(probabilities, classes, part.names)
    return values[:, [names.index(name) for name in part.names]]


def _write_runs(
    folder: Path,
    opened: Opened,
    frames: pd.DataFrame,
    parts: Sequence[Part],
    values: Sequence[dict[str, np.ndarray]],
    weights: Weights,
    config: DictConfig,
) -> list[Run]:
    """Writes the predictions of each member, and of the ensemble, as run folders."""
    members, own_corpus = opened.members, config.get("dataset") is None
    task = MULTI if len(parts) > 1 else CLASSIFICATION if parts[0].name == EMOTION else parts[0].name
    base = [training_entries(member.run, None if own_corpus else config) for member in members]
    written = []
    for number, (member, each, results) in enumerate(zip(members, values, base, strict=True), start=1):
        place = folder / "members" / f"{number}_{member.name.replace('/', '_')}"
        validation = member.run.validation if own_corpus and member.run.has_validation else None
        written.append(_write(place, results, member, frames, task, parts, each, member.leakage, validation))
    if len(members) > 1:
        combined = {
            part.name: np.tensordot(weights.values, np.stack([each[part.name] for each in values]), axes=1)
            for part in parts
        }
        results = ensemble_settings(base, [str(member.run.folder) for member in members], weights, "mean")
        worst = worst_leakage([member.leakage for member in members])
        written.append(_write(folder / "ensemble", results, members[0], frames, task, parts, combined, worst, None))
    return written


def _write(
    place: Path,
    results: dict[str, Any],
    member: Member,
    frames: pd.DataFrame,
    task: str,
    parts: Sequence[Part],
    values: dict[str, np.ndarray],
    leakage: dict[str, Any],
    validation: pd.DataFrame | None,
) -> Run:
    predictions = parts_table(frames, values, parts)
    measured = measure_parts(predictions, task, parts)
    return write_run(place, results, member, predictions, measured, leakage, validation, None)
