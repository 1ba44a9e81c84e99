"""The card of a prepared corpus: its source, settings and contents."""

import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid import __version__, figures
from fervid.corpora.inventory import Inventory
from fervid.figures.drawing import MAX_CLASSES
from fervid.media.decoding import read_picture
from fervid.schema.columns import keys
from fervid.storage.atomic import write_text
from fervid.storage.escaping import markdown_code, markdown_text

FACES_PER_EMOTION = 10  # on the contact sheet
SOURCE = ("name", "root", "citation", "licence")
PACKAGES = ("av", "opencv-python", "numpy", "pillow")


def write_card(
    folder: Path,
    *,
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    inventory: Inventory,
    manifest: pd.DataFrame,
    failed: int,
    sums: list[int],
    detected: bool,
) -> None:
    """Writes ``card.json``, ``card.md`` and ``contact_sheet.png``; the same corpus and settings give the same bytes.

    Args:
        folder: Path to the prepared folder.
        about: description of the corpus from :meth:`fervid.corpora.corpus.Corpus.about`.
        settings: options that select the clips, and settings of detection and cropping.
        inventory: result of the corpus reader.
        manifest: one row per examined frame.
        failed: number of files without a usable face.
        sums: pixel sums over all faces, as in :class:`fervid.faces.clip_faces.Crop`.
        detected: whether faces were detected, so that there is a detection rate.
    """
    card = describe(about, settings, inventory, manifest, failed, sums, detected)
    write_text(folder / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "card.md", _markdown(card))
    faces = manifest[manifest["face"].notna()]
    # Evenly spaced over the corpus, to show many subjects and clips.
    shown = pd.concat(
        group.iloc[np.unique(np.linspace(0, len(group) - 1, min(FACES_PER_EMOTION, len(group))).astype(int))]
        for _, group in islice(faces.groupby("emotion"), MAX_CLASSES)
    )
    sheet = figures.contact_sheet(
        np.stack([read_picture(folder / face) for face in shown["face"]]),
        shown["emotion"].tolist(),
        FACES_PER_EMOTION,
        left_out=faces["emotion"].nunique() - shown["emotion"].nunique(),
    )
    figures.save(sheet, folder / "contact_sheet.png")


def describe(
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    inventory: Inventory,
    manifest: pd.DataFrame,
    failed: int,
    sums: list[int],
    detected: bool,
) -> dict[str, Any]:
    """Returns the card as plain containers. Takes the arguments of :func:`write_card`.

    Mean and standard deviation are computed over all pixels of all faces, in the range 0 to 1, for each channel and for
    luminance, as in the eNTERFACE'05 paper.
    """
    found, seen = manifest["face"].notna(), manifest["faces"] > 0
    mean = np.array(sums[1:5]) / sums[0] / 255
    std = np.sqrt(np.maximum(np.array(sums[5:9]) / sums[0] / 255**2 - mean**2, 0))
    by_emotion = manifest.assign(found=found, seen=seen, clip_key=keys(manifest, "clip")).groupby("emotion")
    clips = inventory.clips
    flat = manifest.get("flat", pd.Series(dtype=object))
    return {
        **source(about, settings),
        "counts": {
            "files": len(clips) + len(inventory.dropped),
            "failures": failed,
            "subjects": int(keys(clips, "subject").nunique()),
            "clips": int(keys(clips, "clip").nunique()),
            "frames": len(manifest),
            "faces": int(found.sum()),
            "frames_with_several_faces": int((manifest["faces"] > 1).sum()),
            "used_whole": int((found & ~seen).sum()),
            "flat_faces": {str(name): int(count) for name, count in flat.value_counts().items()},
            "aligned_by": {str(name): int(count) for name, count in manifest["aligned"].value_counts().items()},
        },
        # Null if no faces were detected because no detector was used.
        "detection_rate": float(seen.mean()) if detected else None,
        "by_emotion": {
            str(name): {
                "clips": int(group["clip_key"].nunique()),
                "faces": int(group["found"].sum()),
                "detection_rate": float(group["seen"].mean()) if detected else None,
            }
            for name, group in by_emotion
        },
        "mean": dict(zip(("red", "green", "blue", "luminance"), mean.round(4).tolist(), strict=True)),
        "std": dict(zip(("red", "green", "blue", "luminance"), std.round(4).tolist(), strict=True)),
        "notes": inventory.sentences(),
        "versions": versions(PACKAGES),
    }


def source(about: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the first entries of the card of any prepared corpus: where it comes from, and its settings."""
    return {**{"corpus" if key == "name" else key: about[key] for key in SOURCE}, "settings": dict(settings)}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of fervid, Python and some packages."""
    own = {"fervid": __version__, "python": platform.python_version()}
    return own | {package: version(package) for package in packages}


def summary(card: dict[str, Any]) -> str:
    """Returns a summary of a preparation in a few sentences."""
    counts = card["counts"]
    text = (
        f"{counts['faces']} faces in {counts['frames']} frames of {counts['files']} files "
        f"({_detected(card)}), {counts['failures']} files failed."
    )
    by_box = counts["aligned_by"].get("box", 0)
    if counts["used_whole"]:
        text += f" Pictures without a detected face, of which the central square is used: {counts['used_whole']}."
    if by_box > counts["used_whole"]:
        text += f" Faces without detected eyes, cropped without rotation: {by_box - counts['used_whole']}."
    if counts["flat_faces"]:
        text += f" {flat_faces(counts['flat_faces'])} They are marked in the column flat of manifest.parquet."
    if counts["frames_with_several_faces"]:
        several = counts["frames_with_several_faces"]
        text += f" Frames with several faces, of which the largest and most central is used: {several}."
    return text


def _detected(card: dict[str, Any]) -> str:
    if card["detection_rate"] is not None:
        return f"detection rate {card['detection_rate']:.1%}"
    detector = card["settings"]["detector"]
    return f"no face detection: {'whole pictures are used' if detector == 'none' else detector}"


def flat_faces(counts: Mapping[str, int]) -> str:
    """Returns a sentence on faces without content, counted by kind: black, white or constant."""
    kinds = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"Faces without content: {kinds}. Check how their files were saved."


def _markdown(card: dict[str, Any]) -> str:
    detected = card["detection_rate"] is not None
    lines = ["| emotion | clips | faces |" + " detection rate |" * detected, "|---|--:|--:|" + "--:|" * detected]
    lines += [
        f"| {markdown_text(name)} | {row['clips']} | {row['faces']} |"
        + (f" {row['detection_rate']:.1%} |" if detected else "")
        for name, row in card["by_emotion"].items()
    ]
    lines += ["", "| | red | green | blue | luminance |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {key} | " + " | ".join(f"{value:.4f}" for value in card[key].values()) + " |" for key in ("mean", "std")
    ]
    return markdown_card(card, summary(card), lines, "![contact sheet](contact_sheet.png)")


def markdown_card(card: Mapping[str, Any], summary: str, tables: list[str], end: str) -> str:
    """Formats the card of any prepared corpus.

    Args:
        card: the card, with the entries of :func:`source`, ``notes`` and ``versions``.
        summary: sentences at the start.
        tables: lines between the notes and the settings.
        end: last line.
    """
    lines = [f"# {card['corpus']}, prepared", "", summary, ""]
    lines += [card["citation"], ""] if card["citation"] else []
    lines += [f"Licence: {card['licence']}.", "", f"Source: {markdown_code(card['root'])}", ""]
    lines += [f"- {markdown_text(note)}" for note in card["notes"]] + [""] * bool(card["notes"])
    lines += tables
    for title in ("settings", "versions"):
        lines += ["", f"| {title} | |", "|---|---|"]
        lines += [f"| {name} | {markdown_text(value)} |" for name, value in card[title].items()]
    return "\n".join(lines) + f"\n\n{end}\n"
