"""The card of a prepared corpus: where it comes from, what was done to it, what is in it."""

import json
import platform
from collections.abc import Mapping
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

SHOWN = 10  # faces of each emotion on the contact sheet
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
        folder: the prepared folder.
        about: of the corpus (:meth:`fervid.corpora.corpus.Corpus.about`).
        settings: which clips were asked for, and how their faces were found and cropped.
        inventory: what the reader found.
        manifest: one row a frame that was looked at.
        failed: files that give nothing.
        sums: of all faces, as :class:`fervid.faces.clip_faces.Crop` has them.
        detected: whether faces were detected, so that there is a detection rate.
    """
    card = describe(about, settings, inventory, manifest, failed, sums, detected)
    write_text(folder / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "card.md", _markdown(card))
    faces = manifest[manifest["face"].notna()]
    # Evenly over the corpus, so that many people and clips are seen.
    shown = pd.concat(
        group.iloc[np.unique(np.linspace(0, len(group) - 1, min(SHOWN, len(group))).astype(int))]
        for _, group in islice(faces.groupby("emotion"), MAX_CLASSES)
    )
    sheet = figures.contact_sheet(
        np.stack([read_picture(folder / face) for face in shown["face"]]),
        shown["emotion"].tolist(),
        SHOWN,
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
    """The card as plain containers (arguments: :func:`write_card`).

    Mean and standard deviation are those of all pixels of all faces, from 0 to 1: of each channel, and of luminance
    as in the eNTERFACE'05 paper.
    """
    found = manifest["face"].notna()
    mean = np.array(sums[1:5]) / sums[0] / 255
    std = np.sqrt(np.maximum(np.array(sums[5:9]) / sums[0] / 255**2 - mean**2, 0))
    by_emotion = manifest.assign(found=found, clip_key=keys(manifest, "clip")).groupby("emotion")
    clips = inventory.clips
    flat = manifest.get("flat", pd.Series(dtype=object))
    return {
        "corpus": about["name"],
        "root": about["root"],
        "citation": about["citation"],
        "licence": about["licence"],
        "settings": dict(settings),
        "counts": {
            "files": len(clips) + len(inventory.dropped),
            "failures": failed,
            "subjects": int(keys(clips, "subject").nunique()),
            "clips": int(keys(clips, "clip").nunique()),
            "frames": len(manifest),
            "faces": int(found.sum()),
            "frames_with_several_faces": int((manifest["faces"] > 1).sum()),
            "flat_faces": {str(name): int(count) for name, count in flat.value_counts().items()},
            "aligned_by": {str(name): int(count) for name, count in manifest["aligned"].value_counts().items()},
        },
        # Null where nothing was looked for.
        "detection_rate": float(found.mean()) if detected else None,
        "by_emotion": {
            str(name): {
                "clips": int(group["clip_key"].nunique()),
                "faces": int(group["found"].sum()),
                "detection_rate": float(group["found"].mean()) if detected else None,
            }
            for name, group in by_emotion
        },
        "mean": dict(zip(("red", "green", "blue", "luminance"), mean.round(4).tolist(), strict=True)),
        "std": dict(zip(("red", "green", "blue", "luminance"), std.round(4).tolist(), strict=True)),
        "notes": inventory.sentences(),
        "versions": {"fervid": __version__, "python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
    }


def summary(card: dict[str, Any]) -> str:
    """What came of a preparation, in one or two sentences."""
    counts = card["counts"]
    told = (
        f"{counts['faces']} faces in {counts['frames']} frames of {counts['files']} files "
        f"({_detected(card)}), {counts['failures']} files failed."
    )
    by_box = counts["aligned_by"].get("box", 0)
    if by_box:
        told += f" Upright as filmed, since no eyes were found: {by_box}."
    if counts["flat_faces"]:
        told += f" {flat_faces(counts['flat_faces'])} The column flat of manifest.parquet says which."
    if counts["frames_with_several_faces"]:
        several = counts["frames_with_several_faces"]
        told += f" Several faces in the frame, the largest and most central taken: {several}."
    return told


def _detected(card: dict[str, Any]) -> str:
    if card["detection_rate"] is not None:
        return f"detection rate {card['detection_rate']:.1%}"
    detector = card["settings"]["detector"]
    return f"not detected: {'they are taken as they are' if detector == 'none' else detector}"


def flat_faces(counts: Mapping[str, int]) -> str:
    """A sentence on faces that show nothing, by what they are: black, white or constant."""
    kinds = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"Faces that show nothing: {kinds}. Check how their files were saved."


def _markdown(card: dict[str, Any]) -> str:
    lines = [f"# {card['corpus']}, prepared", "", summary(card), ""]
    lines += [card["citation"], ""] if card["citation"] else []
    lines += [f"Licence: {card['licence']}.", "", f"Source: {markdown_code(card['root'])}", ""]
    lines += [f"- {markdown_text(note)}" for note in card["notes"]] + [""] * bool(card["notes"])
    detected = card["detection_rate"] is not None
    lines += ["| emotion | clips | faces |" + " detection rate |" * detected, "|---|--:|--:|" + "--:|" * detected]
    lines += [
        f"| {markdown_text(name)} | {row['clips']} | {row['faces']} |"
        + (f" {row['detection_rate']:.1%} |" if detected else "")
        for name, row in card["by_emotion"].items()
    ]
    lines += ["", "| | red | green | blue | luminance |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {key} | " + " | ".join(f"{value:.4f}" for value in card[key].values()) + " |" for key in ("mean", "std")
    ]
    for title in ("settings", "versions"):
        lines += ["", f"| {title} | |", "|---|---|"]
        lines += [f"| {name} | {markdown_text(value)} |" for name, value in card[title].items()]
    return "\n".join(lines) + "\n\n![contact sheet](contact_sheet.png)\n"
