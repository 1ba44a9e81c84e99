"""How fast films are looked at: ``python benchmarks/prediction.py <run> <videos...>``.

All of ``python -m fervid.predict`` but loading: decode, find, align, classify, write rows and timelines, with annotated
videos and without, by turns; frames looked at a second and the factor of real time, median and spread over repeats.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from fervid.data.detection import HaarDetector
from fervid.inference.prediction import predict
from fervid.inference.predictor import Predictor
from fervid.inference.sources import find_sources
from fervid.inference.video import share_cores


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--own-detector", action="store_true", help="the run's own instead of Haar")
    arguments = parser.parse_args()
    share_cores()  # as the command does
    predictor = Predictor(arguments.run, detector=None if arguments.own_detector else HaarDetector())
    items, console = find_sources(arguments.videos), Console(quiet=True)
    print(f"{len(items)} videos, one frame of {arguments.every}, {torch.get_num_threads()} threads of torch")
    rates: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for repeat in range(arguments.repeats + 1):
        for annotated in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                sights = predict(predictor, items, Path(folder), console, every=arguments.every, annotated=annotated)
                spent = time.perf_counter() - began
            if repeat:  # the first warms up
                frames, seconds = sum(sight.frames for sight in sights), sum(sight.seconds for sight in sights)
                rates[annotated].append((frames / spent, seconds / spent))
    for annotated, values in rates.items():
        for name, numbers in zip(("frames a second", "times real time"), zip(*values, strict=True), strict=True):
            print(
                f"annotated {'on ' if annotated else 'off'}  {name}: median {statistics.median(numbers):.2f}, "
                f"from {min(numbers):.2f} to {max(numbers):.2f}"
            )


if __name__ == "__main__":
    main()
