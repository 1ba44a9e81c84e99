"""Five folds over subjects with horizontal flips, compared with a competent plain loop: time and test UAR.

    python benchmarks/five_folds.py [--pictures <folder> --weights <MobileNetV2 state dict>]

MobileNetV2 at 160 px, of which the last block and a linear head are trained with Adam, batches of 32, and the same
pictures and subsets for both. The plain loop computes the features of the frozen stages once for all folds, for each
picture and its mirror image, and trains on them in memory. Both train for at most 12 epochs, stop after five epochs
(at least 100 steps) without a better UAR on validation, and test the best epoch. Whole processes are measured, from
start to exit and with an empty cache; those of fervid also write checkpoints, tables and figures. The UAR is that of
the test predictions of all folds together.
"""

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from random_weights import random_weights
from rendered_faces import write_faces
from sklearn.metrics import balanced_accuracy_score
from timing import Figure, by_turns, print_figures, ratios
from torch import nn
from torchvision.models import mobilenet_v2

from fervid.schema.csv_tables import read_csv

FOLDS, EPOCHS, PATIENCE, PATIENCE_STEPS, BATCH, SIDE = 5, 12, 5, 100, 32, 160
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
LAST = 17  # the first stage of the last block


def stored_features(network: nn.Module, files: list[Path]) -> torch.Tensor:
    """Returns the features of the frozen stages for each picture and its mirror image, (pictures, 2, C, h, w)."""
    features = []
    for start in range(0, len(files), BATCH):
        pictures = []
        for file in files[start : start + BATCH]:
            picture = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
            picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            pictures.append((picture.astype(np.float32) / 255 - MEAN) / STD)
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # channels_last
        with torch.no_grad():
            features.append(torch.stack([network.features[:LAST](each) for each in (batch, batch.flip(3))], 1))
    return torch.cat(features)


def fold(network: nn.Module, features: torch.Tensor, labels: torch.Tensor, subsets: np.ndarray) -> np.ndarray:
    """Trains the last block and the head on one fold; returns the predicted labels of the test subset."""
    layers = nn.Sequential(network.features[LAST:], nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier)
    layers = copy.deepcopy(layers).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3)
    train, val, test = (torch.from_numpy(np.flatnonzero(subsets == name)) for name in ("train", "val", "test"))

    def predicted(rows: torch.Tensor) -> np.ndarray:
        layers.eval()
        with torch.no_grad():
            return torch.cat([layers(features[each, 0]).argmax(1) for each in rows.split(256)]).numpy()

    best, kept, since, steps = -1.0, layers.state_dict(), 0, 0
    for _ in range(EPOCHS):
        layers[0].eval()  # the statistics of BatchNorm are kept
        layers[3].train()
        for rows in train[torch.randperm(len(train))].split(BATCH):
            optimizer.zero_grad()
            views = torch.randint(0, 2, (len(rows),))
            nn.functional.cross_entropy(layers(features[rows, views]), labels[rows]).backward()
            optimizer.step()
        uar = balanced_accuracy_score(labels[val], predicted(val))
        since, steps = since + 1, steps + -(-len(train) // BATCH)
        if uar > best:
            best, kept, since, steps = uar, copy.deepcopy(layers.state_dict()), 0, 0
        if since >= PATIENCE and steps >= PATIENCE_STEPS:
            break
    layers.load_state_dict(kept)
    return predicted(test)


def plain(root: Path, weights: Path, runs: Path) -> None:
    """Trains and tests all folds with a plain loop; prints the test UAR of all folds together."""
    manifests = [pd.read_parquet(runs / str(number) / "manifest.parquet") for number in range(FOLDS)]
    first = manifests[0].set_index("clip")
    labels = torch.from_numpy(pd.Categorical(first["emotion"]).codes.astype(np.int64))
    torch.manual_seed(0)
    network = mobilenet_v2(num_classes=first["emotion"].nunique())
    stored = torch.load(weights, weights_only=True)
    own = {name: tensor for name, tensor in stored.items() if not name.startswith("classifier.")}
    network.load_state_dict(own, strict=False)
    network = network.to(memory_format=torch.channels_last).eval()
    features = stored_features(network, [root / clip for clip in first.index])
    found = np.zeros(len(first), int)
    for manifest in manifests:
        subsets = manifest.set_index("clip").loc[first.index, "split"].to_numpy()
        found[subsets == "test"] = fold(network, features, labels, subsets)
    print(balanced_accuracy_score(labels, found))


def fervid(words: list[str], folder: Path) -> float:
    """Trains and tests all folds with fervid; returns the test UAR of all folds together."""
    sweep = [f"hydra.sweep.dir={folder}", "sweep=cross_validation", f"cache_dir={folder}/cache"]
    command = [sys.executable, "-m", "fervid.train", "-m", *sweep, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tables = pd.concat([read_csv(folder / str(number) / "predictions.csv") for number in range(FOLDS)])
    return balanced_accuracy_score(tables["label"], tables["predicted"])


def main() -> None:
    """Measures both alternately and prints the ratio of the seconds and both UARs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="pictures in one folder per emotion (default: 768 rendered)")
    parser.add_argument("--pattern", default="(.+)__", help="regular expression for the subject in a file name")
    parser.add_argument("--weights", type=Path, help="a state dict of MobileNetV2 (default: random weights)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # the folder with fervid's folds
    arguments = parser.parse_args()
    if arguments.plain:
        plain(arguments.pictures, arguments.weights, arguments.plain)
        return
    with tempfile.TemporaryDirectory() as name:
        compare(arguments, Path(name))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Measures fervid and the plain loop alternately."""
    root = arguments.pictures
    if root is None:
        root = folder / "faces"
        write_faces(root, people=24, frames=4)
    weights = (arguments.weights or random_weights(folder / "weights.pth", "mobilenet_v2")).resolve()
    words = ["dataset=image_folder", f"dataset.root={root.resolve()}", f'dataset.subject_pattern="{arguments.pattern}"']
    words += ["detector=none", "backbone=mobilenet_v2", f"backbone.weights={weights}", f"backbone.image_size={SIDE}"]
    words += [f"dataset.face_size={SIDE}", f"dataset.batch_size={BATCH}", "augmentation=flip", "finetune=last_block"]
    words += ["optimizer.lr=0.001"]
    uars: dict[str, list[float]] = {"plain": [], "fervid": []}
    uars["fervid"].append(fervid(words, folder / "folds"))

    def ours() -> float:
        with tempfile.TemporaryDirectory() as own:
            began = time.perf_counter()
            uars["fervid"].append(fervid(words, Path(own)))
            return time.perf_counter() - began

    def theirs() -> float:
        command = [sys.executable, __file__, "--pictures", str(root), "--weights", str(weights)]
        began = time.perf_counter()
        done = subprocess.run([*command, "--plain", str(folder / "folds")], check=True, capture_output=True, text=True)
        uars["plain"].append(float(done.stdout))
        return time.perf_counter() - began

    seconds = by_turns({"plain": theirs, "fervid": ours}, arguments.repeats)
    note = ", ".join(
        f"{side} {np.median(seconds[side]):.0f} s, UAR {np.mean(uars[side]):.3f}" for side in ("plain", "fervid")
    )
    ratio = ratios(seconds["plain"], seconds["fervid"])
    print_figures(Figure("five folds", "plain loop / fervid, flips, last block", ratio, ">= 1", note=note))


if __name__ == "__main__":
    main()
