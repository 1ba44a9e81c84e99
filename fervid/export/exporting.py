"""Exports a trained network for other programs and verifies each exported file against the network."""

import logging
import shlex
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from rich.console import Console

from fervid.errors import InputError, first_line
from fervid.export.formats import FORMATS, Compute
from fervid.export.metadata import describe, describe_inputs, runs_alone
from fervid.export.model_card import model_card
from fervid.export.networks import checks, classifies_pictures, made_network, random_faces
from fervid.models.batch_invariance import BatchInvariance, check_batches
from fervid.runs.load import load_task, stored_config
from fervid.runs.run import open_run
from fervid.runs.trust import Trust
from fervid.schema.parts import CLASSIFICATION
from fervid.schema.tables import Table
from fervid.storage.atomic import PREFIX, filling
from fervid.tasks.classification import EmotionClassifier
from fervid.tasks.task import Task

TOLERANCE = 1e-4  # maximum difference of an output; relative to the largest one if that is above 1
EXAMPLES = Path(__file__).parent / "examples"
CLIP_EXAMPLE = "run_onnx_clips.py"  # instead of run_onnx.py
PART_EXAMPLE = "run_onnx_parts.py"  # instead of run_onnx.py, for tasks other than classification
NAMES = {"model_card.md", *(name for form in FORMATS.values() for name in (form.file, form.example))}

log = logging.getLogger(__name__)


class Export(NamedTuple):
    """What was exported.

    Attributes:
        folder: the output folder.
        differences: for each format, the largest difference between an output of the exported network and that of the
            original, on random inputs.
        of_pictures: whether the network predicts single pictures; otherwise clips.
        outputs: names of its outputs.
    """

    folder: Path
    differences: dict[str, float]
    of_pictures: bool
    outputs: tuple[str, ...]


def export_run(run: Path, formats: Sequence[str], folder: Path | None = None, *, trust: Trust = ()) -> Export:
    """Exports the network of a run, with an example script for each format and a model card.

    Args:
        run: path to the run folder.
        formats: names of formats, keys of :data:`FORMATS`.
        folder: the output folder, new or empty; None: ``export`` in the run folder, where formats from an earlier
            export are written again.
        trust: packages whose classes the run may use.

    Raises:
        InputError: if a format is unknown, the run is not finished or has no network, the output folder contains
            other files or cannot be written, a network's outputs depend on the batch, or a network cannot be exported
            or deviates from the original.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(f"format={', '.join(unknown) or '[]'} is unknown: choose {', '.join(FORMATS)}, or a list.")
    model = load_task(run, trust=trust, of_pictures=False)
    of_pictures, finished = classifies_pictures(model), open_run(run)
    if not of_pictures and finished.task != CLASSIFICATION:
        raise InputError(
            f"{run} predicts clips or sounds with the task {finished.task}, which export cannot write: give a run of "
            f"single pictures (sample=frame) or of {CLASSIFICATION}."
        )
    if of_pictures:  # clips are compared one by one with a batch anyway
        invariance = _batch_invariance(model)
        if not invariance.holds:
            raise InputError(f"{run} cannot be exported. {invariance.sentence}")
        log.info(invariance.sentence)
    config = stored_config(finished.results, run, trust=trust)
    about = describe(finished.results, config, model)
    inputs = {} if of_pictures else describe_inputs(config, model)
    target = run / "export" if folder is None else folder
    _check_target(target, empty=folder is not None)
    folder = target
    # Existing formats are written again: a file from an earlier export may contain another network.
    existing = [name for name, form in FORMATS.items() if (folder / form.file).exists()]
    formats = list(dict.fromkeys([*formats, *existing]))
    try:
        with filling(folder) as new:
            differences = {name: write_format(name, model, config, about, new) for name in formats}
            files = sorted(path.name for path in new.iterdir() if path.suffix != ".md")
            card = model_card(finished, config, files=files, inputs=inputs)
            (new / "model_card.md").write_text(card, encoding="utf-8")
        for name in NAMES - {*files, "model_card.md"}:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({(error.strerror or first_line(error)).lower()}): free disk space or give "
            "another folder with folder=<folder>."
        ) from error
    return Export(folder, differences, of_pictures, made_network(model).outputs)


def write_format(name: str, model: Task, config: DictConfig, about: dict[str, str], folder: Path) -> float:
    """Writes one format and its example script; returns the largest difference of an output after opening it again."""
    form = FORMATS[name]
    path = folder / form.file
    try:
        content = form.serialise(made_network(model), about)
    except Exception as error:  # exporters raise dozens of exception types
        raise InputError(
            f"PyTorch cannot export this network to {name} ({first_line(error)}): choose another format."
        ) from error
    path.write_bytes(content)
    if name != "safetensors" or runs_alone(about):
        example = form.example if classifies_pictures(model) else CLIP_EXAMPLE
        example = example if isinstance(model, EmotionClassifier) else PART_EXAMPLE
        shutil.copyfile(EXAMPLES / example, folder / form.example)
    difference, is_close = _compare(model, form.open(path, config, model))
    if not is_close:
        output = "a logit" if made_network(model).outputs == ("logits",) else "an output"
        raise InputError(
            f"the network exported to {name} deviates from the run's by {difference:.2g} in {output}, more than the "
            f"tolerance of {TOLERANCE:g}. No file was written; choose another format."
        )
    return difference


@torch.inference_mode()
def _batch_invariance(model: Task) -> BatchInvariance:
    """Checks on random pictures that logits do not depend on the batch, which no comparison of a file would notice."""
    faces = random_faces(16, model.backbone.image_size, torch.Generator().manual_seed(0))

    def compute(pictures: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(pictures)).numpy()

    return check_batches(compute, faces.numpy(), compute(faces.numpy()), batch_size=4)


@torch.inference_mode()
def _compare(model: Task, compute: Compute) -> tuple[float, bool]:
    """Returns the largest difference of an output on random inputs, and whether all are within the tolerance."""
    differences: dict[int, float] = defaultdict(float)  # by output
    largest: dict[int, float] = defaultdict(float)
    for inputs, expected in checks(model):
        found = compute({name: x.numpy() for name, x in inputs.items()})
        for number, (own, other) in enumerate(zip((x.numpy() for x in expected), found, strict=True)):
            if own.shape != other.shape or (np.isnan(own) != np.isnan(other)).any():
                return float("inf"), False
            differences[number] = max(differences[number], float(np.nanmax(np.abs(own - other))))
            largest[number] = max(largest[number], float(np.nanmax(np.abs(own))))
    is_close = all(differences[number] <= TOLERANCE * max(1.0, largest[number]) for number in differences)
    return max(differences.values()), is_close


def _check_target(folder: Path, *, empty: bool) -> None:
    """Refuses an output folder with files that are not part of an export, or with any file if it must be empty."""
    if folder.is_dir():
        found = {path.name for path in folder.iterdir() if not path.name.startswith(PREFIX)}
        others = sorted(found - (set() if empty else NAMES))
        if others:
            raise InputError(f"{folder} already contains {others[0]}: give another folder=, or remove it.")
    for parent in (folder, *folder.parents):
        if parent.exists() and not parent.is_dir():
            raise InputError(f"folder={folder} cannot be created, since {parent} is a file: give another folder.")


def print_export(console: Console, export: Export) -> None:
    """Prints the exported files, their deviations from the original and how to run them."""
    folder, differences, of_pictures, outputs = export
    by_file = {FORMATS[name].file: difference for name, difference in differences.items()}
    rows = [(path.name, path.stat().st_size / 1e6, by_file.get(path.name)) for path in sorted(folder.iterdir())]
    column = f"largest {'logit' if outputs == ('logits',) else 'output'} difference"
    data = pd.DataFrame(rows, columns=["file", "MB", column])
    Table("export", "Exported files", data, {"MB": "{:.3f}", column: "{:.1e}"}).print(console)
    shown = (
        "random pictures in batches of 1, 3 and 8"
        if of_pictures
        else "random clips of different lengths, alone and in batches, with and without each modality"
    )
    console.print(f"Verified against the run's network on {shown}.", highlight=False, soft_wrap=True)
    for path in sorted(folder.glob("run_*.py")):
        command = shlex.join(["python", str(path), "face.png" if of_pictures else "clip.mp4"])
        console.print(f"Run it without fervid: {command}", highlight=False, soft_wrap=True, markup=False)
    if "safetensors" in differences and not (folder / FORMATS["safetensors"].example).exists():
        console.print("The weights in model.safetensors require fervid: see the model card.", highlight=False)
    console.print(f"Output: {folder}", highlight=False, soft_wrap=True, markup=False)
