"""Fifty epochs of a head on a frozen backbone, against the plain loop that shows it every picture in every epoch.

    python benchmarks/frozen_phase.py [--pictures <folder> --weights <MobileNetV2 state dict>]

MobileNetV2 at 224 px, a linear head, Adam, batches of 32, the same pictures on both sides of the same split. Of the
plain loop one epoch is measured and taken fifty times: every epoch costs the same. Of fervid it is preparation and the
whole fit, with nothing cached before; imports are not counted. A second line counts fervid's whole process: start,
imports, test, figures and exit too, of which the plain loop has none. Both without augmentation, and with one, of which
fervid keeps eight views a picture. The plain loop decodes between its steps, and is torch as it comes; that fervid
keeps the memory it frees (fervid/processes/memory.py) is part of what is measured.
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
from timing import Figure, by_turns, ratios, tell
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import mobilenet_v2

from fervid.data.frame_datamodule import EVALUATION_BATCH_SIZE
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.csv_tables import read_csv

EPOCHS, VIEWS, BATCH = 50, 8, 32
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


class Pictures(Dataset):
    """Files as they are read every epoch: decoded, resized, augmented, normalised."""

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
    """What one writes without a framework: backbone in eval mode without gradients, the head learns.

    Args:
        root: the pictures.
        manifest: of a run of fervid: which of them it trains and validates on.
        weights: a state dict of the backbone.
        augmentation: of the training pictures.
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
        """Of a batch (B, 3, 224, 224)."""
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
    """Trains with fervid; returns the seconds it noted and those of its whole process."""
    command = [sys.executable, "-m", "fervid.train", *words, f"hydra.run.dir={folder}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.perf_counter() - began
    return json.loads((folder / "results.json").read_text())["seconds"], whole


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder an emotion (768 rendered faces)")
    parser.add_argument("--pattern", default="(.+)__", help="finds who is seen in a file name")
    parser.add_argument("--weights", type=Path, help="a state dict of MobileNetV2 (random ones)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Measures both sides by turns."""
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
    tell(
        Figure(
            "frozen phase",
            "largest difference of a test probability, cached or not",
            [float(np.abs(chances[0] - chances[1]).max()) * 1e6],
            "<= 100",
            "millionths",
            f"{same} of {len(tables[0])} predictions are the same",
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
        tell(Figure("frozen phase", f"plain loop / fervid, {epochs}", part, f">= {goal:g}", note=note))
        everything = ratios(seconds["plain"], processes)
        note = f"{both}, fervid {whole:.1f} s from start to exit"
        tell(Figure("frozen phase", f"plain loop / whole process of fervid, {epochs}", everything, note=note))


if __name__ == "__main__":
    main()
