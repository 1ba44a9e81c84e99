"""Measures how long commands take to respond, to reach the first training step and to run each job of a sweep.

``python benchmarks/start.py`` takes about two minutes on an idle machine. The first step of the real command, on the
rendered corpus with cached faces, is compared with a bare import of torch and Lightning.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from timing import Figure, by_turns, print_figures, ratios

REPEATS = 5
COMMANDS = "train prepare audit baseline search report evaluate predict explain export demo".split()
IMPORTS = "import os, torch, pytorch_lightning; os._exit(0)"
# Without garbage collection during the imports, as in fervid: a lower bound for the start.
BARE_IMPORTS = "import gc, os; gc.disable(); import torch, pytorch_lightning; os._exit(0)"


class FirstStep(torch.optim.Adam):
    """Ends the process after the first optimizer step."""

    def step(self, *args: object, **kwargs: object) -> None:
        super().step(*args, **kwargs)
        os._exit(0)


def fervid(command: str, *words: str) -> list[str]:
    """Returns the words that start a command of fervid."""
    return [sys.executable, "-m", f"fervid.{command}", *words]


def seconds(words: list[str], folder: str, processor: list[float] | None = None) -> float:
    """Runs a command and returns its wall seconds; appends its processor seconds to ``processor``."""
    environment = {**os.environ, "FERVID_CACHE": f"{folder}/cache", "PYTHONPATH": str(Path(__file__).parent)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    taken, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if processor is not None:
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return taken


def main() -> None:
    """Prints one line per measurement."""
    with TemporaryDirectory(prefix="fervid-start-") as folder:

        def side(words: list[str], processor: list[float] | None = None) -> Callable[[], float]:
            return lambda: seconds(words, folder, processor)

        for words in (["--help"], ["--cfg", "job"]):
            processor: list[float] = []
            wall = by_turns({"": side(fervid("train", *words), processor)}, REPEATS)[""]
            what = f"fervid.train {' '.join(words)}"
            print_figures(Figure("start", what, wall, "<= 1", "s"))
            print_figures(Figure("start", f"{what}, processor", processor, "<= 1", "s"))
        helps = {command: seconds(fervid(command, "--help"), folder) for command in COMMANDS}
        slowest = max(helps, key=lambda command: helps[command])
        what = f"--help of the slowest of {len(COMMANDS)} commands"
        print_figures(Figure("start", what, [helps[slowest]], "<= 1", "s", f"fervid.{slowest}"))

        step = fervid("train", "backbone=lenet", "optimizer._target_=start.FirstStep")
        seconds(step, folder)  # renders the corpus
        used: dict[str, list[float]] = {"step": [], "imports": [], "quick": []}
        sides = {
            "step": side(step, used["step"]),
            "imports": side([sys.executable, "-c", IMPORTS], used["imports"]),
            "quick": side([sys.executable, "-c", BARE_IMPORTS], used["quick"]),
        }
        wall = by_turns(sides, REPEATS)
        what = "first step of fervid.train / bare import of torch and Lightning"
        both = f"{min(wall['step']):.1f} s / {min(wall['imports']):.1f} s at best"
        print_figures(Figure("start", what, ratios(wall["step"], wall["imports"]), "<= 1.15", note=both))
        print_figures(Figure("start", f"{what}, processor", ratios(used["step"], used["imports"]), "<= 1.15"))
        print_figures(Figure("start", f"{what} without garbage collection", ratios(wall["step"], wall["quick"])))

        tiny = ["experiment=smoke", "logger=none"]
        runs = {
            "run": side(fervid("train", *tiny, "seed=0")),
            "sweep": side([*fervid("train", "-m", *tiny, "seed=0,1,2,3"), "hydra.sweep.dir=sweep-${now:%H-%M-%S-%f}"]),
        }
        runs["sweep"]()  # fills the cache for all seeds
        wall = by_turns(runs, 3)
        more = [(sweep - run) / 3 for run, sweep in zip(wall["run"], wall["sweep"], strict=True)]
        print_figures(Figure("start", "a tiny run, from start to end", wall["run"], unit="s"))
        print_figures(Figure("start", "each additional job in a sweep of such runs", more, unit="s"))


if __name__ == "__main__":
    main()
