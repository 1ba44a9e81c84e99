"""What a sweep shares: six jobs on a frozen backbone against one of them, of either batch size.

    python benchmarks/sweep.py [--pictures <folder> --weights <MobileNetV2 state dict>]

Three optimizers x two batch sizes, MobileNetV2 at 224 px, a linear head: each job could compute the frozen features
of all pictures; a sweep computes them once. Every job trains for its 20 epochs. All sides begin with an empty cache,
by turns; whole processes are timed. A job with batches of 10 takes ten times the steps of one with batches of 100, and
half of the six are of each kind: "one of them" is either.
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
from timing import Figure, by_turns, ratios, tell

SIDES = {
    "one job of batch 10": ["optimizer=adam", "dataset.batch_size=10"],
    "one job of batch 100": ["optimizer=adam", "dataset.batch_size=100"],
    "six jobs": ["-m", "optimizer=sgd,rmsprop,adam", "dataset.batch_size=10,100"],
}


def main() -> None:
    """Times all sides and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder an emotion (1,536 rendered faces)")
    parser.add_argument("--pattern", default="(.+)__", help="finds who is seen in a file name")
    parser.add_argument("--weights", type=Path, help="a state dict of MobileNetV2 (random ones)")
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
        tell(Figure("sweep", f"six jobs / {one}, MobileNetV2 frozen", found, "<= 1.5", note=note))


def run(words: list[str]) -> float:
    """Seconds of the whole command in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fervid.train", *words]
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
