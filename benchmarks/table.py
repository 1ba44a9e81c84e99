"""Runs the benchmarks one after the other and writes what they found as one table: ``make bench``.

Without arguments everything is rendered and all weights are random. ``--only start,sweep`` runs some of them. The exit
code tells of scripts that failed, not of goals that were missed.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table
from tabulate import tabulate
from timing import Figure

TAKES = {  # the scripts in their order, and which of the options each is given
    "start": [],
    "preparation": ["videos"],
    "training_step": [],
    "frozen_phase": ["pictures", "weights"],
    "sweep": ["pictures", "weights"],
    "peers": ["keras", "weights"],
    "growth": [],
    "prediction": ["videos"],
    "gpu": [],
}
HEADER = ["row", "what", "median", "spread", "goal", "", "note"]
LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python", "av", "numpy")


def main() -> bool:
    """Runs the scripts and writes the table; returns whether none failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TAKES), help="names of scripts, joined by commas")
    parser.add_argument("--videos", type=Path, help="a folder of videos")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures, one sub-folder an emotion")
    parser.add_argument("--weights", type=Path, help="a state dict of MobileNetV2")
    parser.add_argument("--keras", type=Path, help="the Python that has TensorFlow")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/table.md"))
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    unknown = sorted(set(names) - set(TAKES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose some of {', '.join(TAKES)}.")
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    ends = []
    for name in names:
        given = {option: getattr(arguments, option) for option in TAKES[name] if getattr(arguments, option)}
        options = [word for option, value in given.items() for word in (f"--{option}", str(value.absolute()))]
        found, failed, end = run(Path(__file__).with_name(f"{name}.py"), options)
        figures += found
        ends.append((name, failed, end))
        print(f"{name}: {end}", flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(_markdown(figures, ends, load), encoding="utf-8")
    Console().print(_for_the_terminal(figures))
    failures = [f"{name} {end}" for name, failed, end in ends if failed]
    print(*failures, f"the table lies in {arguments.output}", sep="\n")
    return not failures


def run(script: Path, options: list[str]) -> tuple[list[Figure], bool, str]:
    """Runs a script.

    Returns:
        Its figures, whether it failed, and in words how it ended.
    """
    print(f"{script.stem}:", flush=True)
    began, last = time.perf_counter(), ""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        figures.touch()
        process = subprocess.Popen(
            [sys.executable, str(script), *options],
            env={**os.environ, "FERVID_FIGURES": str(figures)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            last = line.strip() or last
        failed = process.wait() != 0
        found = [Figure(**json.loads(line)) for line in figures.read_text(encoding="utf-8").splitlines()]
    seconds = time.perf_counter() - began
    if failed:
        return found, True, f"FAILED after {seconds:.0f} s: {last}"
    return found, False, f"{seconds:.0f} s" + ("" if found else f", no figure: {last}")


def machine() -> str:
    """Processor, memory and GPU in a line."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), processor)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = psutil.virtual_memory().total / 2**30
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, {gpu}, {platform.system()}"


def _markdown(figures: list[Figure], ends: list[tuple[str, bool, str]], load: float) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = [
        "# Benchmarks",
        "",
        f"- {datetime.now():%Y-%m-%d %H:%M}, `{shlex.join(['python', *sys.argv])}`",
        f"- {machine()}; load {load:.1f} when it began",
        f"- Python {platform.python_version()}, {versions}; {torch.get_num_threads()} threads of torch",
        "",
        tabulate([figure.cells() for figure in figures], HEADER, tablefmt="github", disable_numparse=True),
        "",
        *(f"- {name}: {end}" for name, _, end in ends),
        "",
    ]
    return "\n".join(lines)


def _for_the_terminal(figures: list[Figure]) -> Table:
    table = Table(*HEADER)
    for figure in figures:
        colour = {True: "green", False: "red", None: ""}[figure.met]
        table.add_row(*figure.cells(), style=colour)
    return table


if __name__ == "__main__":
    sys.exit(not main())
