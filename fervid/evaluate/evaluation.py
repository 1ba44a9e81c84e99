"""An evaluation of stored runs, top to bottom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fervid.evaluate.cross_corpus import (
    ALL_SHARED,
    emotion_table,
    first_choice_table,
    merge_classes,
    restrict,
    shared_emotions,
)
from fervid.evaluate.ensemble import gain_sentence, member_table, member_weights, soft_vote
from fervid.evaluate.members import (
    Member,
    align,
    ask,
    asked_settings,
    leakage,
    leave_out_seen,
    open_members,
    open_runs,
)
from fervid.metrics.aggregation import clip_predictions, confusion
from fervid.metrics.scores import scores
from fervid.report.report import check_resamples, compare
from fervid.report.systems import System
from fervid.report.writing import Section, print_report, write_report
from fervid.runs.load import stored_config
from fervid.runs.record import write_json
from fervid.runs.run import Run, open_run
from fervid.schema.atomic import write_csv
from fervid.schema.emotions import shared_name
from fervid.schema.errors import InputError
from fervid.schema.leakage_levels import LeakageLevel


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
    if config.people not in ("all", "unseen"):
        raise InputError(f"people={config.people} is unknown: choose all or unseen.")
    runs = open_runs(folders)
    weights = member_weights(config.weights, runs)
    own = config.get("dataset") is None
    if config.root is not None and not own:
        raise InputError(f"root={config.root} is where a run's own corpus lies: give dataset.root for another corpus.")
    members = open_members(runs, config)
    align(members, own)
    left_out = leave_out_seen(members) if config.people == "unseen" else 0
    for member in members:
        member.leakage = leakage(member, own, left_out)

    vocabularies = [run.class_names for run in runs]
    labels = members[0].frames["emotion"]
    emotions = vocabularies[0] if own else shared_emotions(vocabularies, sorted(labels.unique()))
    for member in members:
        console.print(f"{member.name}: {len(member.frames)} frames of {member.datamodule.corpus}", highlight=False)
        said = ask(member, config.device)
        names = [name if own else shared_name(name) for name in member.run.class_names]
        member.probabilities, member.classes = merge_classes(said, names)
    true = labels if own else labels.map(shared_name)
    kept = true.isin(emotions).to_numpy()
    answers = [restrict(member.probabilities, member.classes, emotions)[kept] for member in members]

    base = [_settings(member.run, None if own else config) for member in members]
    frames = members[0].frames[kept].assign(emotion=true[kept])
    written = []
    for number, (member, said, results) in enumerate(zip(members, answers, base, strict=True), start=1):
        place = folder / "members" / f"{number}_{member.name.replace('/', '_')}"
        validation = member.run.validation if own and (member.run.folder / "predictions_val.csv").exists() else None
        predictions = _predictions(frames, said, emotions)
        written.append(_write(place, results, member, predictions, emotions, member.leakage, validation))
    if len(members) > 1:
        predictions = _predictions(frames, soft_vote(answers, weights), emotions)
        worst = max((member.leakage for member in members), key=lambda leakage: LeakageLevel(leakage["level"]).rank)
        results = _ensemble_settings(base) | {
            "ensemble": {"members": [str(run.folder) for run in runs], "weights": weights.tolist()}
        }
        validation = _joint_validation(runs, weights, emotions) if own else None
        written.append(_write(folder / "ensemble", results, members[0], predictions, emotions, worst, validation))

    options = {"resamples": config.resamples, "seed": config.seed}
    names = [member.name for member in members] + ["ensemble"] * (len(members) > 1)
    systems = [System({}, [run], {}, name) for run, name in zip(written, names, strict=True)]
    sentences = _sentences(members, written, own, left_out, config.people)
    if len(members) > 1:
        sentences.insert(0, gain_sentence(systems[-1], systems[:-1], **options))
    own_choice: list[float | None] | None = None
    if not own:
        own_choice = [_uar_of_own_choice(member, true[kept], kept) for member in members]
        own_choice += [None] * (len(members) > 1)
    table = member_table(systems, [*weights.tolist(), None][: len(systems)], own_choice, **options)
    sections = [
        Section(
            "Members and ensemble" if len(names) > 1 else "Scores in short", [table], sentences=sentences, terminal=True
        )
    ]
    if not own:
        sections = [*_emotion_sections(members, labels, emotions), *sections]
    compared = compare(written, {}, **options)
    where = f"{members[0].datamodule.corpus}{', test split' if own else ''}"
    title = f"What {', '.join(names)} {'reaches' if len(names) == 1 else 'reach'} on {where}"
    summary = []
    if members[0].datamodule.rendered:
        summary = ["Rendered people: such scores show that the protocol runs, not what it reaches."]
    write_report(folder, title, summary, sections + compared)
    # The summary of a report pools repeats; the table of the members says the same of each by itself.
    print_report(console, sections)
    console.print(
        f"everything lies in {folder}: report.html, report.md, tables/, figures/, members/"
        f"{', ensemble/' if len(members) > 1 else ''}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _uar_of_own_choice(member: Member, true: pd.Series, kept: np.ndarray) -> float:
    """The mean recall of the shared emotions if the member may choose among all that it knows."""
    said = np.array(member.classes, dtype=object)[member.probabilities[kept].argmax(axis=1)]
    return float(pd.Series(said == true.to_numpy(), index=true.index).groupby(true).mean().mean())


def _predictions(frames: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """One row a frame, as :meth:`fervid.callbacks.Predictions.table` gives."""
    table = frames.drop(columns="store_row").rename(columns={"emotion": "true"})
    table.insert(0, "index", frames.index)
    table["predicted"] = np.array(emotions, dtype=object)[probabilities.argmax(axis=1)]
    chances = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in emotions], index=table.index)
    return pd.concat([table, chances], axis=1)


def _joint_validation(runs: Sequence[Run], weights: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame | None:
    """What the ensemble says of the validation frames; None unless all members have the same."""
    if not all((run.folder / "predictions_val.csv").exists() for run in runs):
        return None
    chances = [f"p_{name}" for name in emotions]
    tables = [run.validation.sort_values(["clip", "frame"], ignore_index=True) for run in runs]
    if not all(table[["clip", "frame"]].equals(tables[0][["clip", "frame"]]) for table in tables):
        return None
    joint = soft_vote([table[chances].to_numpy(dtype=float) for table in tables], weights)
    predicted = np.array(emotions, dtype=object)[joint.argmax(axis=1)]
    return tables[0].assign(predicted=predicted, **dict(zip(chances, joint.T, strict=True)))


# What is left in the form of a run


def _settings(run: Run, config: DictConfig | None) -> dict[str, Any]:
    """A run's ``results.json`` as far as it is of training; with the corpus it is asked about, if that is another."""
    kept = {name: value for name, value in run.results["metrics"].items() if not name.startswith("test/")}
    told = ("seed", "seconds", "warnings", "versions", "git_revision", "choices", "config", "epochs", "best_epoch")
    results: dict[str, Any] = {name: run.results.get(name) for name in told} | {"metrics": kept}
    if config is not None:
        chosen = config.choices
        before = results["choices"]
        results["choices"] = before | {
            "dataset": chosen["dataset"], "detector": chosen["detector"], "split": "all frames", "paper": None,
        }  # fmt: skip
        results["config"] = results["config"] | {
            "dataset": OmegaConf.to_container(asked_settings(config, stored_config(run.results, run.folder))),
            "detector": OmegaConf.to_container(config.detector) if config.get("detector") else None,
            "trained_on": {group: before.get(group) for group in ("dataset", "split", "detector")},
            "paper": None,
        }
    return results


def _ensemble_settings(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What an ensemble's ``results.json`` says of settings: those that all members have in common."""
    first = members[0]
    seconds = {"fit": sum(results["seconds"]["fit"] for results in members)}
    choices = _common([results["choices"] for results in members]) | {"backbone": "ensemble"}
    config = _common([results["config"] for results in members])
    told = {name: first[name] for name in ("versions", "git_revision")}
    return told | {
        "choices": choices, "config": config, "seconds": seconds, "seed": None, "warnings": [], "metrics": {},
    }  # fmt: skip


def _common(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Nested settings with ``several`` where they differ."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in settings for name in each):
        values = [each.get(name) for each in settings]
        if all(isinstance(value, dict) for value in values):
            merged[name] = _common([value for value in values if isinstance(value, dict)])
        else:
            several = None if name in ("seed", "fold") else "several"
            merged[name] = values[0] if all(value == values[0] for value in values) else several
    return merged


def _write(
    folder: Path,
    results: dict[str, Any],
    member: Member,
    predictions: pd.DataFrame,
    emotions: list[str],
    leakage: dict[str, Any],
    validation: pd.DataFrame | None,
) -> Run:
    """Writes what a report needs to know of a run."""
    counts = confusion(predictions, emotions)
    reached = scores(counts)
    clips = scores(confusion(clip_predictions(predictions, emotions), emotions))
    metrics = {f"test/{name}": value for name, value in reached.means().items()}
    metrics |= {f"test/clip_{name}": value for name, value in clips.means().items()}
    sides = {side: int(member.run.results["data"]["split"][side]) for side in ("train", "val")}
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "predictions.csv", predictions)
    if validation is not None:
        write_csv(folder / "predictions_val.csv", validation)
    # Last: with it the folder is whole.
    write_json(
        folder / "results.json",
        results
        | {
            "evaluated": str(member.run.folder),
            "metrics": results["metrics"] | metrics,
            "recall": dict(zip(emotions, reached.recall.tolist(), strict=True)),
            "precision": dict(zip(emotions, reached.precision.tolist(), strict=True)),
            "confusion": counts.tolist(),
            "class_names": list(emotions),
            "leakage": leakage,
            "data": {
                "corpus": member.datamodule.corpus,
                "corpora": member.datamodule.corpora,
                "rendered": member.datamodule.rendered,
                "frames": len(predictions),
                "clips": int(predictions["clip"].nunique()),
                "subjects": int(predictions["subject"].nunique()),
                "unreadable": member.datamodule.failed_files,
                "image_size": member.datamodule.image_size,
                "split": sides | {"test": len(predictions)},
            },
        },
    )
    return open_run(folder)


# What is said


def _sentences(members: Sequence[Member], written: Sequence[Run], own: bool, left_out: int, people: str) -> list[str]:
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
                f"{frames['subject'].nunique()} people and on {found['clips']['count']} of these "
                f"{frames['clip'].nunique()} clips of {corpus}, going by their names: its scores are {found['level']} "
                "and promise too much; people=unseen leaves them out."
            )
    if people == "unseen":
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


def _emotion_sections(members: Sequence[Member], labels: pd.Series, emotions: Sequence[str]) -> list[Section]:
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
