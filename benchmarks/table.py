"""Runs the benchmarks one after another and writes their results to one table: ``make bench``.

Without arguments, all faces are rendered and all weights are random. ``--only start,sweep`` runs only some benchmarks.
The table is written again after each script, so that an interrupted run keeps the results so far. The exit code
reports failed scripts, not missed goals.
"""

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table
from tabulate import tabulate
from timing import Figure

TAKES = {  # the scripts in their order, with the options passed to each
    "start": [],
    "preparation": ["videos"],
    "training_step": ["repeats"],
    "frozen_phase": ["pictures", "weights", "repeats"],
    "sweep": ["pictures", "weights", "repeats"],
    "five_folds": ["pictures", "weights", "repeats"],
    "peers": ["keras", "weights", "repeats"],
    "growth": [],
    "prediction": ["videos", "repeats"],
    "gpu": ["repeats"],
}
HEADER = ["row", "what", "median", "spread", "goal", "", "note"]
LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python", "av", "numpy")
INTERRUPTED = 130  # exit code after Ctrl-C


def main(words: list[str] | None = None) -> int:
    """Runs the scripts and writes the table.

    Returns:
        The exit code: 0, 1 if a script failed, or 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TAKES), help="names of scripts, separated by commas")
    parser.add_argument("--videos", type=os.path.abspath, help="a folder of videos")
    parser.add_argument("--pictures", type=os.path.abspath, help="a folder of pictures with one subfolder per emotion")
    parser.add_argument("--weights", type=os.path.abspath, help="a state dict of MobileNetV2")
    parser.add_argument("--keras", type=os.path.abspath, help="path to a Python interpreter with TensorFlow")
    parser.add_argument("--repeats", type=int, help="number of repeats (default: that of each script)")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="time limit per script; a script that takes longer fails"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/table.md"))
    arguments = parser.parse_args(words)
    names = arguments.only.split(",")
    unknown = sorted(set(names) - set(TAKES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose from {', '.join(TAKES)}.")
    if arguments.repeats is not None and arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats} is out of range: use 1 or more.")
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    ends: dict[str, str] = dict.fromkeys(names, "not run")
    failures = []
    for name in names:
        given = {option: getattr(arguments, option) for option in TAKES[name] if getattr(arguments, option)}
        options = [word for option, value in given.items() for word in (f"--{option}", str(value))]
        found, code, ends[name] = run(Path(__file__).with_name(f"{name}.py"), options, 60 * arguments.minutes)
        figures += found
        print(f"{name}: {ends[name]}", flush=True)
        _write(arguments.output, _markdown(figures, ends, load))
        if code == INTERRUPTED:
            print(f"Interrupted: the results so far are in {arguments.output}.")
            return INTERRUPTED
        if code:
            failures.append(f"{name} {ends[name]}")
    Console().print(_for_the_terminal(figures))
    print(*failures, f"Output: {arguments.output}", sep="\n")
    return int(bool(failures))


def run(script: Path, options: list[str], limit: float) -> tuple[list[Figure], int, str]:
    """Runs a script; at the time limit or Ctrl-C, kills it and all its child processes.

    Args:
        script: path to the script.
        options: its command-line arguments.
        limit: time limit in seconds.

    Returns:
        Its figures, its exit code, and a description of how it ended.
    """
    print(f"{script.stem}:", flush=True)
    began, last = time.perf_counter(), ""
    # Also contains the temporary files of the script, since a killed script cannot remove them.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures = Path(folder) / "figures.jsonl"
        figures.touch()
        with subprocess.Popen(
            [sys.executable, str(script), *options],
            env={**os.environ, "FERVID_FIGURES": str(figures), "TMPDIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # own process group: Ctrl-C reaches only this process, which kills the group
        ) as process:
            over = threading.Timer(limit, _kill, [process])
            over.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    print(f"  {line}", end="", flush=True)
                    last = line.strip() or last
                code = process.wait()
            except KeyboardInterrupt:
                code = INTERRUPTED
            finally:
                over.cancel()
                _kill(process)  # also its remaining child processes
        found = [Figure(**json.loads(line)) for line in figures.read_text(encoding="utf-8").splitlines()]
    seconds = time.perf_counter() - began
    if code == INTERRUPTED:
        return found, code, f"interrupted after {seconds:.0f} s"
    if seconds >= limit:
        last = f"killed at the time limit of {limit / 60:g} minutes"
    if code:
        return found, code, f"FAILED after {seconds:.0f} s: {last}"
    return found, 0, f"{seconds:.0f} s" + ("" if found else f", no figure: {last}")


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # no process is left
        os.killpg(process.pid, signal.SIGKILL)


def _write(path: Path, text: str) -> None:
    """Writes a temporary file and renames it, so that readers always find a complete table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def machine() -> str:
    """Describes processor, memory and GPU in one line."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), processor)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = psutil.virtual_memory().total / 2**30
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, {gpu}, {platform.system()}"


def _markdown(figures: list[Figure], ends: dict[str, str], load: float) -> str:
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
        *(f"- {name}: {end}" for name, end in ends.items()),
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
    for name in (
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # handled like Ctrl-C; otherwise the scripts would outlive this process
        signal.signal(name, signal.default_int_handler)
    sys.exit(main())
