"""What the terminal shows of a run: its split, what it leaks, and its scores."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fervid.audit.leakage import Audit, Finding
from fervid.schema.errors import listed
from fervid.schema.manifest import SPLITS, emotion_by_split

if TYPE_CHECKING:
    from fervid.data.datamodule import FrameDataModule

MAX_ROWS = 40  # emotions listed one by one


def print_split(console: Console, datamodule: "FrameDataModule") -> None:
    """The split, as a table of emotion x side."""
    counts = emotion_by_split(datamodule.manifest)
    people = datamodule.manifest.groupby("split")["subject"].nunique()
    table = Table(title=f"frames by emotion and split ({datamodule.audit.level})")
    table.add_column("emotion")
    for side in SPLITS:
        table.add_column(side, justify="right")
    emotions, rest = counts.iloc[:-1].head(MAX_ROWS), counts.iloc[MAX_ROWS:-1]
    rows = {str(emotion): row for emotion, row in emotions.iterrows()}
    if len(rest):
        rows[f"{len(rest)} more"] = rest.sum()
    for name, row in rows.items():
        table.add_row(escape(name), *(str(row[side]) for side in SPLITS))
    table.add_section()
    table.add_row("total", *(str(counts[side].iloc[-1]) for side in SPLITS))
    if people.sum():
        table.add_row("people", *(str(people.get(side, 0)) for side in SPLITS))
    console.print(table)


def print_audit(console: Console, audit: Audit) -> None:
    """What stands on two sides of a split, by kind, with examples."""
    table = Table(title=f"what stands on two sides ({audit.level})")
    table.add_column("")
    table.add_column("on two sides", justify="right")
    table.add_column("of", justify="right")
    table.add_column("for example")
    unknown = Finding(0, 0, [])
    kinds = {
        "people": audit.subjects if audit.people_known else unknown,
        "clips": audit.clips if audit.clips_known else unknown,
        "twins of a recording": audit.twins,
        "pairs that differ in repetition": audit.repetitions,
        "pairs that differ in statement": audit.statements,
        "pairs that look the same": audit.near_duplicates,
    }
    for name, found in kinds.items():
        if found is unknown:
            table.add_row(name, "unknown", "", "")
        elif found is not None:
            example = next(iter(found.examples), {})
            names = [
                str(example[key]) for key in ("subject", "clip", "recording", "clip_a", "clip_b") if example.get(key)
            ]
            table.add_row(name, str(found.count), str(found.total), escape(", ".join(names)))
    if audit.strangers:
        table.add_row("  of different or unknown people", str(audit.strangers), "", "")
    console.print(table)


def print_summary(console: Console, folder: Path, results: dict[str, Any]) -> None:
    """What was reached and where everything lies."""
    metrics = results["metrics"]
    chance = 1 / len(results["class_names"])
    table = Table(title=f"what was reached ({results['leakage']['level']})")
    for column in ("", "UAR", "WAR (accuracy)", "macro F1", "loss"):
        table.add_column(column, justify="right" if column else "left")
    epochs = f", epoch {results['best_epoch']} of {results['epochs']}" if "epochs" in results else ""
    rows = [(f"validation{epochs}", "val/"), ("test, frames", "test/")]
    if results["data"]["clips"] < results["data"]["frames"]:
        rows.append(("test, whole clips", "test/clip_"))
    for name, prefix in rows:
        loss = metrics.get(f"{prefix}loss")
        table.add_row(
            name,
            *(f"{metrics[prefix + metric]:.1%}" for metric in ("uar", "accuracy", "f1")),
            "" if loss is None else f"{loss:.3f}",
        )
    table.add_row("chance", f"{chance:.1%}", "", "", "", style="dim")
    console.print(table)
    for measure in ("recall", "precision"):
        by_class = listed(
            [f"{name} {'-' if value is None else f'{value:.0%}'}" for name, value in results[measure].items()], MAX_ROWS
        )
        console.print(f"test {measure}: {by_class}", highlight=False, markup=False)
    by_epoch = [f"{phase} {value:.1f} s" for phase, value in results["seconds"].get("by_epoch", {}).items()]
    epochs = f" ({', '.join(by_epoch)} an epoch)" if by_epoch else ""
    console.print(f"trained in {results['seconds']['fit']:.0f} s{epochs}", highlight=False, markup=False)
    for warning in results["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    console.print(f"everything lies in {folder}", highlight=False, soft_wrap=True, markup=False)
    if (folder / "tensorboard").exists():
        command = shlex.join(["tensorboard", "--logdir", str(folder)])
        console.print(f"look at it: {command}", highlight=False, soft_wrap=True, markup=False)
