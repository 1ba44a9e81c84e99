"""The card of a prepared corpus of sounds: its source, settings, durations and levels."""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from fervid import figures
from fervid.corpora.inventory import Inventory
from fervid.figures.drawing import MAX_CLASSES
from fervid.media.sound import RATE, read_wav
from fervid.prepare.card import markdown_card, source, versions
from fervid.schema.columns import keys
from fervid.storage.atomic import write_text
from fervid.storage.escaping import markdown_text

CLIPS_PER_EMOTION = 2  # in the figure of spectrograms
CLIPPED = 0.001  # fraction of samples at full scale from which a clip counts as clipped; a loud clip has single ones
PACKAGES = ("av", "numpy")


def write_card(
    folder: Path,
    *,
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    inventory: Inventory,
    manifest: pd.DataFrame,
    failures: pd.DataFrame,
) -> None:
    """Writes ``card.json``, ``card.md`` and ``spectrograms.png``; the same corpus and settings give the same bytes.

    Args:
        folder: Path to the prepared folder.
        about: description of the corpus from :meth:`fervid.corpora.corpus.Corpus.about`.
        settings: options that select the clips, and settings of decoding.
        inventory: result of the corpus reader.
        manifest: one row per clip with sound.
        failures: files without usable sound, with ``path`` and ``reason``.
    """
    card = describe(about, settings, inventory, manifest, failures)
    write_text(folder / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "card.md", _markdown(card))
    # The first and the last clip of an emotion, to show different subjects.
    shown = pd.concat(
        group.iloc[np.unique(np.linspace(0, len(group) - 1, CLIPS_PER_EMOTION).astype(int))]
        for _, group in islice(manifest.groupby("emotion"), MAX_CLASSES)
    )
    figure = figures.spectrograms(
        [read_wav(folder / sound) for sound in shown["sound"]],
        RATE,
        shown["emotion"].tolist(),
        shown["clip"].tolist(),
        left_out=manifest["emotion"].nunique() - shown["emotion"].nunique(),
    )
    figures.save(figure, folder / "spectrograms.png")


def describe(
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    inventory: Inventory,
    manifest: pd.DataFrame,
    failures: pd.DataFrame,
) -> dict[str, Any]:
    """Returns the card as plain containers. Takes the arguments of :func:`write_card`."""
    clips = inventory.clips
    by_level = manifest.sort_values(["rms_db", "sound"])["sound"].tolist()
    examples = {"quietest": by_level[0], "median": by_level[len(by_level) // 2], "loudest": by_level[-1]}
    return {
        **source(about, settings),
        "counts": {
            "files": len(clips) + len(inventory.dropped),
            "failures": len(failures),
            "subjects": int(keys(clips, "subject").nunique()),
            "clips": len(manifest),
            "silent": int(failures["reason"].str.startswith("silent").sum()),
            "clipped": int((manifest["clipped"] >= CLIPPED).sum()),
            "several_channels": int((manifest["channels"] > 1).sum()),
            "source_rates": _counts(manifest["source_rate"]),
            "below_rate": int((manifest["source_rate"] < RATE).sum()),
        },
        "hours": round(float(manifest["seconds"].sum()) / 3600, 4),
        "seconds": _range(manifest["seconds"]),
        "peak_db": _range(manifest["peak_db"]),
        "rms_db": _range(manifest["rms_db"]),
        "by_emotion": {
            str(name): {
                "clips": len(group),
                "minutes": round(float(group["seconds"].sum()) / 60, 2),
                "seconds": round(float(group["seconds"].mean()), 2),
                "rms_db": round(float(group["rms_db"].mean()), 1),
            }
            for name, group in manifest.groupby("emotion")
        },
        "examples": examples,
        "notes": inventory.sentences(),
        "versions": versions(PACKAGES),
    }


def summary(card: dict[str, Any]) -> str:
    """Returns a summary of a preparation in a few sentences."""
    counts = card["counts"]
    seconds = card["seconds"]
    text = (
        f"{counts['clips']} sounds of {counts['files']} files, {_duration(card['hours'])} in all "
        f"({seconds['min']:.1f} to {seconds['max']:.1f} s), {counts['failures']} files failed."
    )
    if counts["silent"]:
        text += f" Silent files, which count as failed: {counts['silent']}."
    if counts["clipped"]:
        text += f" Clipped sounds (at least {CLIPPED:.1%} of the samples at full scale): {counts['clipped']}."
    if counts["several_channels"]:
        text += f" Files with several channels, of which the mean is used: {counts['several_channels']}."
    if counts["below_rate"]:
        text += f" Files with fewer than {RATE} samples per second, which have no high frequencies: "
        text += f"{counts['below_rate']}."
    return text


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().sort_index().items()}


def _range(values: pd.Series) -> dict[str, float]:
    statistics = {"min": values.min(), "median": values.median(), "max": values.max()}
    return {name: round(float(value), 2) for name, value in statistics.items()}


def _markdown(card: dict[str, Any]) -> str:
    lines = ["| emotion | clips | minutes | mean seconds | mean level (dB) |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {markdown_text(name)} | {row['clips']} | {row['minutes']:.1f} | {row['seconds']:.2f} | "
        f"{row['rms_db']:.1f} |"
        for name, row in card["by_emotion"].items()
    ]
    lines += ["", "| | min | median | max |", "|---|--:|--:|--:|"]
    for title, key in (("seconds", "seconds"), ("peak level (dB)", "peak_db"), ("mean level (dB)", "rms_db")):
        lines.append(f"| {title} | " + " | ".join(f"{value:.2f}" for value in card[key].values()) + " |")
    rates = ", ".join(f"{rate} Hz: {count}" for rate, count in card["counts"]["source_rates"].items())
    lines += ["", f"Files by sampling rate: {rates}. Levels are relative to full scale.", ""]
    links = (f"[{name}](<{quote(path)}>)" for name, path in card["examples"].items())
    lines += [f"Listen to the clips with the lowest, middle and highest mean level: {', '.join(links)}."]
    return markdown_card(card, summary(card), lines, "![spectrograms](spectrograms.png)")
