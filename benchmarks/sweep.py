"""Compares a sweep of six jobs on a frozen backbone with a single job of either batch size.

    python benchmarks/sweep.py [--pictures <folder> --weights <MobileNetV2 state dict>]

Three optimizers x two batch sizes, MobileNetV2 at 224 px, a linear head: the jobs of a sweep share the frozen features
of all pictures, which are computed once. Every job trains for 20 epochs. All measurements start with an empty cache,
run alternately and time whole processes. A job with batches of 10 has ten times the steps of a job with batches of
100, and three of the six jobs are of each kind, so the sweep is compared with both.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from random_weights import random_weights
from rendered_faces import write_faces
from timing import Figure, by_turns, print_figures, ratios

SIDES = {
    "one job of batch 10": ["optimizer=adam", "dataset.batch_size=10"],
    "one job of batch 100": ["optimizer=adam", "dataset.batch_size=100"],
    "six jobs": ["-m", "optimizer=sgd,rmsprop,adam", "dataset.batch_size=10,100"],
}


def main() -> None:
    """Measures all alternatives and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pictures", type=Path, help="pictures in one folder per emotion (default: 1,536 rendered faces)"
    )
    parser.add_argument("--pattern", default="(.+)__", help="regular expression for the subject in a file name")
    parser.add_argument("--weights", type=Path, help="a state dict of MobileNetV2 (default: random weights)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, weights = arguments.pictures, arguments.weights
        if root is None:
            root = Path(folder) / "faces"
            write_faces(root, people=24, frames=8)
        weights = (weights or random_weights(Path(folder) / "weights.pth", "mobilenet_v2")).resolve()
        words = ["dataset=image_folder", f"dataset.root={root.resolve()}", "backbone=mobilenet_v2", "finetune=frozen"]
        words += [f'dataset.subject_pattern="{arguments.pattern}"', "cache_dir=cache"]
        words += [f"backbone.weights={weights}", "finetune.phases.0.patience=null"]
        sides = {name: lambda choice=choice: run([*choice, *words]) for name, choice in SIDES.items()}
        seconds = by_turns(sides, arguments.repeats)
    middle = " s, ".join(f"{name} {statistics.median(values):.1f}" for name, values in seconds.items())
    note = f"{middle} s, whole processes from an empty cache"
    for one in list(SIDES)[:-1]:
        found = ratios(seconds["six jobs"], seconds[one])
        print_figures(Figure("sweep", f"six jobs / {one}, MobileNetV2 frozen", found, "<= 1.5", note=note))


def run(words: list[str]) -> float:
    """Runs a command in an empty folder; returns the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fervid.train", *words]
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
