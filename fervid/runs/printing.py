"""Terminal output of a run: its split, the audit of its split, and its scores."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from fervid.audit.leakage import Audit, Finding
from fervid.errors import listed
from fervid.metrics.parts import EMOTION_SCORES, MAIN_SCORES, MEASURES, PART_TITLES, SCORE_TITLES
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.manifest import SPLITS, corpus_by_split, emotion_by_split
from fervid.schema.parts import CLASSIFICATION, EMOTION, UNITS
from fervid.schema.tables import Table
from fervid.schema.weights import describe_weights

if TYPE_CHECKING:
    from fervid.data.datamodule import EmotionDataModule

MAX_EMOTIONS = 30  # listed individually


def print_split(console: Console, datamodule: "EmotionDataModule") -> None:
    """Prints the number of frames per emotion and subset."""
    counts = emotion_by_split(datamodule.manifest)
    emotions, rest, total = counts.iloc[:-1].head(MAX_EMOTIONS), counts.iloc[MAX_EMOTIONS:-1], counts.iloc[-1]
    rows = {str(emotion): row for emotion, row in emotions.iterrows()}
    if len(rest):
        rows[f"{len(rest)} more"] = rest.sum()
    rows["total"] = total
    subjects = keys(datamodule.manifest, "subject").groupby(datamodule.manifest["split"]).nunique()
    if subjects.sum():
        rows["subjects"] = subjects.reindex(list(SPLITS), fill_value=0)
    data = pd.DataFrame([{"emotion": name} | {subset: row[subset] for subset in SPLITS} for name, row in rows.items()])
    Table("split", f"Frames per emotion and subset ({datamodule.audit.level})", data).print(console)
    if datamodule.label_report is not None:
        print_corpora(console, datamodule, datamodule.label_report)


def print_corpora(console: Console, datamodule: "EmotionDataModule", label_report: pd.DataFrame) -> None:
    """Prints the number of frames of each of several corpora by subset, and how their labels were mapped."""
    counts = corpus_by_split(datamodule.manifest).rename_axis("corpus").reset_index()
    Table("corpora", "Frames per corpus and subset", counts).print(console)
    for corpus, rows in label_report.groupby("corpus", sort=False):
        renamed = rows[rows["mapped_to"].notna() & (rows["mapped_to"] != rows["label"])]
        dropped = rows[rows["mapped_to"].isna()]
        parts = [f"{old} as {new}" for old, new in zip(renamed["label"], renamed["mapped_to"], strict=True)]
        parts += [
            f"without {label} ({frames} frames, {reason})"
            for label, frames, reason in zip(dropped["label"], dropped["frames"], dropped["reason"], strict=True)
        ]
        console.print(f"labels of {corpus}: {', '.join(parts) or 'unchanged'}", highlight=False, markup=False)
    if datamodule.sample.shows_pictures and datamodule.grayscale:
        console.print("All pictures are converted to grayscale (dataset.grayscale).", highlight=False)


def print_audit(console: Console, audit: Audit) -> None:
    """Prints how many subjects, clips, recordings and pairs are in two subsets, each with an example."""
    unknown = Finding(0, 0, [])
    kinds = {
        "subjects": audit.subjects if audit.subjects_known else unknown,
        "clips": audit.clips if audit.clips_known else unknown,
        "recordings kept as several clips": audit.recordings,
        "pairs that differ in repetition": audit.repetitions,
        "pairs that differ in statement": audit.statements,
        "pairs that look the same": audit.near_duplicates,
    }
    rows: list[tuple[str, int | str, int | None, str]] = []
    for name, found in kinds.items():
        if found is unknown:
            rows.append((name, "unknown", None, ""))
        elif found is not None:
            example = next(iter(found.examples), {})
            names = [
                str(example[key])
                for key in ("corpus", "subject", "clip", "recording", "clip_a", "clip_b")
                if example.get(key)
            ]
            rows.append((name, found.count, found.total, ", ".join(names)))
    if audit.people is not None:
        kind = "clusters of several pictures" if audit.subjects_clustered else "people with several names"
        example = next(iter(audit.people.examples), {})
        rows.append((kind, audit.people.count, audit.people.total, ", ".join(_names(example))))
    if audit.unknown_subjects:
        rows.append(("  of different or unknown subjects", audit.unknown_subjects, None, ""))
    data = pd.DataFrame(rows, columns=["", "in two subsets", "of", "for example"]).astype({"of": "Int64"})
    Table("leaks", f"Leakage between subsets ({audit.level})", data).print(console)


def _names(example: dict[str, Any]) -> list[str]:
    return [str(example[name]) for name in ("subject_a", "subject_b") if name in example]


def print_summary(console: Console, folder: Path, results: dict[str, Any]) -> None:
    """Prints the scores, the initial weights, the durations, the warnings and the output folder of a run."""
    run = Run(folder, results)
    for table in _score_tables(run):
        table.print(console)
    for measure in ("recall", "precision") if "class_names" in results else ():
        by_class = [f"{name} {'-' if value is None else f'{value:.0%}'}" for name, value in results[measure].items()]
        console.print(f"test {measure}: {listed(by_class, MAX_EMOTIONS)}", highlight=False, markup=False)
    for part in run.parts:
        if part.name == UNITS:
            values = [run.metric(f"test/f1_{name}") for name in part.names]
            by_unit = [f"{title} {value:.0%}" if value == value else f"{title} -"
                       for title, value in zip(part.titles, values, strict=True)]  # fmt: skip
            console.print(f"test F1: {listed(by_unit, MAX_EMOTIONS)}", highlight=False, markup=False)
    if (results["config"].get("task") or {}).get("test_flips"):
        console.print("Outputs for each picture and its mirror image were averaged (task.test_flips).", highlight=False)
    for sentence in describe_weights(results.get("weights") or {}):
        console.print(sentence, highlight=False, markup=False)
    by_epoch = [f"{phase} {value:.1f} s" for phase, value in results["seconds"].get("by_epoch", {}).items()]
    epochs = f" ({', '.join(by_epoch)} per epoch)" if by_epoch else ""
    console.print(f"trained in {results['seconds']['fit']:.0f} s{epochs}", highlight=False, markup=False)
    for warning in results["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    console.print(f"Output: {folder}", highlight=False, soft_wrap=True, markup=False)
    if (folder / "tensorboard").exists():
        command = shlex.join(["tensorboard", "--logdir", str(folder)])
        console.print(f"TensorBoard: {command}", highlight=False, soft_wrap=True, markup=False)


def _score_tables(run: Run) -> list[Table]:
    """Returns the scores of validation and test: one table for each part of the task."""
    metrics = run.results["metrics"]
    level = run.results["leakage"]["level"]
    if run.task == CLASSIFICATION or not run.parts:
        names = [name.removeprefix("test/") for name in metrics if name.startswith("test/")]
        shares = EMOTION_SCORES if run.parts else {}
        others = [name for name in names if name not in shares.values() and not name.startswith("clip_")]
        columns = shares | {name.replace("_", " "): name for name in others}  # blanks, since narrow columns are wrapped
        return [_score_table(run, f"Results ({level})", columns, EMOTION_SCORES.values())]
    tables = []
    for part in run.parts:
        if part.name == EMOTION:
            shown, percent = EMOTION_SCORES, tuple(EMOTION_SCORES.values())
        else:
            shown, percent = MEASURES[part.name].shown, MEASURES[part.name].shares
        columns = shown | ({} if len(run.parts) > 1 else {"loss": "loss"})
        tables.append(_score_table(run, f"{PART_TITLES[part.name]} ({level})", columns, percent))
    if len(run.parts) > 1:
        mains = ", ".join(SCORE_TITLES[MAIN_SCORES[part.name]] for part in run.parts)
        title = f"All parts (mean score: mean of {mains})"
        tables.append(_score_table(run, title, {"mean score": "mean_score", "loss": "loss"}, ()))
    return tables


def _score_table(run: Run, title: str, columns: dict[str, str], shares: Collection[str]) -> Table:
    """Returns the scores of each subset and level, one per row.

    Args:
        run: the run.
        title: title of the table.
        columns: names of the scores by the titles of their columns.
        shares: scores shown in percent.
    """
    metrics, results = run.results["metrics"], run.results
    epochs = f", epoch {results['best_epoch']} of {results['epochs']}" if "epochs" in results else ""
    prefixes = {f"validation{epochs}": "val/", f"test, {run.samples}": "test/"}
    alone = {f"test, {name} alone": f"test_{name}/" for name in run.modalities}
    main = next(iter(columns.values()))
    prefixes |= {name: prefix for name, prefix in alone.items() if f"{prefix}{main}" in metrics}
    is_frames = run.samples == "frames" and results["data"]["clips"] < results["data"]["frames"]
    if is_frames and any(f"test/clip_{name}" in metrics for name in columns.values()):
        prefixes["test, whole clips"] = "test/clip_"
    rows: list[dict[str, Any]] = [
        {"": name} | {column: metrics.get(prefix + metric) for column, metric in columns.items()}
        for name, prefix in prefixes.items()
    ]
    if "uar" in columns.values():
        rows.append({"": "chance", "UAR": 1 / len(results["class_names"])})
    formats = {column: "{:.1%}" if metric in shares else "{:.3f}" for column, metric in columns.items()}
    return Table("results", title, pd.DataFrame(rows), formats)
