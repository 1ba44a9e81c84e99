"""Fifty epochs of a head on a frozen backbone, compared with a plain loop that runs the backbone in every epoch.

    python benchmarks/frozen_phase.py [--pictures <folder> --weights <MobileNetV2 state dict>]

MobileNetV2 at 224 px, a linear head, Adam, batches of 32, and the same pictures and split for both. One epoch of the
plain loop is measured and multiplied by fifty, since every epoch takes the same time. For fervid, preparation and the
whole fit are measured, starting with an empty cache and without imports. A second line also counts fervid's whole
process with start, imports, test, figures and exit, which the plain loop does not have. Both are measured without and
with augmentation; with augmentation, fervid caches eight views per picture. The plain loop decodes between its steps
and uses torch's default memory management; fervid keeps freed memory (fervid/processes/memory.py), which is part of
the comparison.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from random_weights import random_weights
from rendered_faces import write_faces
from timing import Figure, by_turns, print_figures, ratios
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import mobilenet_v2

from fervid.data.datamodule import EVALUATION_BATCH_SIZE
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.csv_tables import read_csv

EPOCHS, VIEWS, BATCH = 50, 8, 32
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


class Pictures(Dataset):
    """Picture files that are decoded, resized, augmented and normalised in every epoch."""

    def __init__(self, files: list[Path], labels: np.ndarray, augmentation: Any):
        self.files, self.labels, self.augmentation = files, labels, augmentation

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        picture = cv2.cvtColor(cv2.imread(str(self.files[row])), cv2.COLOR_BGR2RGB)
        picture = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)
        if self.augmentation is not None:
            picture = self.augmentation(image=picture)["image"]
        picture = (picture.astype(np.float32) / 255 - MEAN) / STD
        return torch.from_numpy(picture.transpose(2, 0, 1)), int(self.labels[row])


class PlainLoop:
    """A plain training loop: the backbone in eval mode without gradients, and a trainable head.

    Args:
        root: folder of the pictures.
        manifest: manifest of a run of fervid, which names its training and validation pictures.
        weights: path to a state dict of the backbone.
        augmentation: augmentation of the training pictures.
    """

    def __init__(self, root: Path, manifest: pd.DataFrame, weights: Path, augmentation: Any):
        network = mobilenet_v2(num_classes=manifest["emotion"].nunique())
        stored = torch.load(weights, weights_only=True)
        own = {name: tensor for name, tensor in stored.items() if not name.startswith("classifier.")}
        network.load_state_dict(own, strict=False)
        network = network.to(memory_format=torch.channels_last)
        self.backbone, self.head = network.features.eval(), network.classifier
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-3)
        self.loaders = {}
        labels = pd.Categorical(manifest["emotion"]).codes
        for side in ("train", "val"):
            rows = np.flatnonzero(manifest["split"] == side)
            files = [root / path for path in manifest["clip"].iloc[rows]]
            pictures = Pictures(files, labels[rows], augmentation if side == "train" else None)
            batch = BATCH if side == "train" else EVALUATION_BATCH_SIZE
            self.loaders[side] = DataLoader(pictures, batch_size=batch, shuffle=side == "train")

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns the logits of a batch (B, 3, 224, 224)."""
        with torch.no_grad():
            features = self.backbone(pictures.to(memory_format=torch.channels_last)).mean((2, 3))
        return self.head(features)

    def epoch(self) -> float:
        """Trains and validates once; returns the seconds."""
        began = time.perf_counter()
        self.head.train()
        for pictures, labels in self.loaders["train"]:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.logits(pictures), labels).backward()
            self.optimizer.step()
        self.head.eval()
        right = 0
        with torch.no_grad():
            for pictures, labels in self.loaders["val"]:
                right += int((self.logits(pictures).argmax(1) == labels).sum())
        return time.perf_counter() - began


def train(words: list[str], folder: Path) -> tuple[dict[str, float], float]:
    """Trains with fervid; returns the seconds recorded in its results and those of the whole process."""
    command = [sys.executable, "-m", "fervid.train", *words, f"hydra.run.dir={folder}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.perf_counter() - began
    return json.loads((folder / "results.json").read_text())["seconds"], whole


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pictures", type=Path, help="pictures in one folder per emotion (default: 768 rendered faces)"
    )
    parser.add_argument("--pattern", default="(.+)__", help="regular expression for the subject in a file name")
    parser.add_argument("--weights", type=Path, help="a state dict of MobileNetV2 (default: random weights)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Measures fervid and the plain loop alternately."""
    root, weights = arguments.pictures, arguments.weights
    if root is None:
        root = folder / "faces"
        write_faces(root, people=24, frames=4)
    weights = weights or random_weights(folder / "weights.pth", "mobilenet_v2")
    words = ["dataset=image_folder", f"dataset.root={root.resolve()}", "backbone=mobilenet_v2", "finetune=frozen"]
    words += [f'dataset.subject_pattern="{arguments.pattern}"', "finetune.phases.0.patience=null"]
    words += [f"backbone.weights={weights.resolve()}", f"dataset.batch_size={BATCH}"]

    tables = []
    for name, cached in (("cached", []), ("uncached", ["finetune.cache_gb=0"])):
        train([*words, *cached, "finetune.phases.0.epochs=2", f"cache_dir={folder / 'first'}"], folder / name)
        tables.append(read_csv(folder / name / "predictions.csv", numbers=True))
    chances = [table.filter(like="prob_").to_numpy() for table in tables]
    same = int((tables[0]["predicted"] == tables[1]["predicted"]).sum())
    print_figures(
        Figure(
            "frozen phase",
            "largest difference of a test probability, cached vs. not cached",
            [float(np.abs(chances[0] - chances[1]).max()) * 1e6],
            "<= 100",
            "millionths",
            f"{same} of {len(tables[0])} predictions are equal",
        )
    )

    manifest = pd.read_parquet(folder / "cached" / "manifest.parquet")
    hf_faces = instantiate(OmegaConf.load(Path(CONFIG_FOLDER) / "augmentation" / "hf_faces.yaml"))
    for what, augmentation, more, goal in (
        ("no augmentation", None, [], 30.0),
        (f"{VIEWS} views", hf_faces, ["augmentation=hf_faces", f"finetune.cached_views={VIEWS}"], 0.8 * EPOCHS / VIEWS),
    ):
        loop = PlainLoop(root, manifest, weights, augmentation)
        loop.epoch()
        processes: list[float] = []

        def fervid(more: list[str] = more, processes: list[float] = processes) -> float:
            with tempfile.TemporaryDirectory() as own:
                run = [*words, *more, f"finetune.phases.0.epochs={EPOCHS}", f"cache_dir={own}/cache"]
                seconds, whole = train(run, Path(own) / "run")
            processes.append(whole)
            return seconds["prepare"] + seconds["fit"]

        seconds = by_turns({"plain": lambda loop=loop: EPOCHS * loop.epoch(), "fervid": fervid}, arguments.repeats)
        plain, ours, whole = np.median(seconds["plain"]), np.median(seconds["fervid"]), np.median(processes)
        epochs = f"{EPOCHS} epochs, {what}"
        both = f"{len(manifest)} pictures; plain {plain:.0f} s (one epoch x {EPOCHS})"
        part = ratios(seconds["plain"], seconds["fervid"])
        note = f"{both}, fervid {ours:.1f} s: preparation and fit"
        print_figures(Figure("frozen phase", f"plain loop / fervid, {epochs}", part, f">= {goal:g}", note=note))
        everything = ratios(seconds["plain"], processes)
        note = f"{both}, fervid {whole:.1f} s from start to exit"
        print_figures(Figure("frozen phase", f"plain loop / whole process of fervid, {epochs}", everything, note=note))


if __name__ == "__main__":
    main()
