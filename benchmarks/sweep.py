"""What a sweep shares: six jobs on a frozen backbone against one of them.

    python benchmarks/sweep.py <folder of pictures> --weights <MobileNetV2 state dict> [--pattern "(.+)__"]

Three optimizers x two batch sizes, MobileNetV2 at 224 px, a linear head: each job could compute the frozen features
of all pictures; a sweep computes them once. Both sides begin with an empty cache, by turns; whole processes are timed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Times both sides and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--pattern", default="(.+)__")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    words = ["dataset=image_folder", f"dataset.root={arguments.root.resolve()}", "backbone=mobilenet_v2"]
    words += [f'dataset.subject_pattern="{arguments.pattern}"', "finetune=frozen"]
    words += [f"backbone.weights={arguments.weights.resolve()}"] if arguments.weights else []
    one, six = (
        ["optimizer=adam", "dataset.batch_size=32"],
        ["-m", "optimizer=sgd,rmsprop,adam", "dataset.batch_size=10,100"],
    )
    ratios = []
    for repeat in range(arguments.repeats):
        seconds = {}
        for name, choice in [("one job", one), ("six jobs", six)][:: 1 if repeat % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "fervid.train", *choice, *words, "cache_dir=cache"]
                began = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                seconds[name] = time.perf_counter() - began
        ratios.append(seconds["six jobs"] / seconds["one job"])
        print(*(f"{name} {value:.1f} s" for name, value in seconds.items()), f"ratio {ratios[-1]:.2f}", flush=True)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"six jobs cost {statistics.median(ratios):.2f} times one of them ({spread}, {len(ratios)} repeats)")


if __name__ == "__main__":
    main()
