"""Compares fervid with Keras 3 and TensorFlow on the papers' pipelines, end to end: ``python benchmarks/peers.py``.

Whole processes are measured alternately, from raw videos or pictures to test scores, without prepared files: ``python
-m fervid.train experiment=...`` and ``keras_pipelines.py``, which runs in a separate environment. Both use the same
rendered subjects, the same frames in the same subsets, the same network, the same initial weights for frozen stages,
and the same epochs in the same phases; early stopping is disabled in both. Both use the cores of the machine with
their default settings. Videos have the size of those in a real corpus, with as many frames as in the preset; there are
fewer subjects, clips and emotions, and fewer epochs where they would take too long. Where the preset splits by counts,
or 20% of the frames are too few to test on, the split is random. If one of the two does not learn, or their
accuracies differ, the comparison is void and gets no verdict. Besides whole processes, preparation and training are
listed separately, as timed by each program.

Networks with frozen stages start from random weights unless a file is given. With random weights of MobileNetV2, a
head recognises only a third of the eight emotions, hardly enough for a verdict; with ImageNet weights, it recognises
all of them: give ``--weights``.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from random_weights import random_network
from timing import Figure, by_turns, print_figures, ratios

from fervid.media.files import RENDERED

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the writers of rendered corpora

from rendered_corpora.enterface import write_enterface
from rendered_corpora.hf_faces import write_hf_parquet
from rendered_corpora.ised import write_ised
from rendered_corpora.ravdess import write_ravdess

KERAS = Path(__file__).with_name("keras_pipelines.py")
VIEWS = 8  # as the HF presets recommend for laptops


def sides(*, val: float, test: float) -> tuple[str, ...]:
    """Returns settings for a random split of frames with these fractions for validation and test."""
    return "split=random_frames", f"split.val={val}", f"split.test={test}"


HF_SIDES = ("split.val=0.15", "split.test=0.3")  # stratified, as the preset says


@dataclass(frozen=True)
class Pipeline:
    """A reduced preset.

    Attributes:
        corpus: name of the rendered corpus.
        goal: goal for the ratio Keras / fervid.
        epochs: number of epochs of each phase.
        overrides: further settings of fervid.
        backbone: torchvision's name of the backbone, if it has frozen stages; both then start from the same weights.
    """

    corpus: str
    goal: str
    epochs: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    backbone: str | None = None


PIPELINES = {
    "ised_lenet": Pipeline("ised", ">= 2", (25,), sides(val=0.2, test=0.2)),
    "ised_alexnet": Pipeline("ised", ">= 2", (15,), ("dataset.subjects=[1,2,3,4,5]", *sides(val=0.1, test=0.25))),
    "enterface_cnn": Pipeline("enterface", ">= 2", (15,), sides(val=0.2, test=0.2)),
    "ravdess_vgg16": Pipeline("ravdess", ">= 2", (8,), sides(val=0.1, test=0.3), "vgg16"),
    "hf_mobilenet_v2": Pipeline("hf_faces", ">= 15", (50, 35), HF_SIDES, "mobilenet_v2"),
    "hf_vgg16": Pipeline("hf_faces", ">= 15", (50, 35), HF_SIDES, "vgg16"),
    "hf_efficientnet_b2": Pipeline("hf_faces", ">= 15", (50, 35), HF_SIDES, "efficientnet_b2"),
}
SLOW = ("hf_vgg16", "hf_efficientnet_b2")

RENDER: dict[str, Callable[[Path], object]] = {
    "ised": lambda root: write_ised(root, subjects=range(1, 11), clips=3, frames=40, width=960, height=540),
    "enterface": lambda root: write_enterface(root, subjects=range(1, 6), sentences=(1, 2), frames=60),
    "ravdess": lambda root: write_ravdess(
        root, emotions=("calm", "happy", "sad", "angry"), intensities=("01",), frames=100
    ),
    # One picture per emotion in many copies, so that even random weights can distinguish them.
    "hf_faces": lambda root: write_hf_parquet(root / "train.parquet", rows=8, size=224, copies=16),
}


def corpus(folder: Path, name: str) -> Path:
    """Returns the root of a rendered corpus; renders it unless it exists."""
    root = folder / "corpora" / name
    if not (root / RENDERED).exists():
        print(f"rendering {name}", flush=True)
        RENDER[name](root)
    return root / "train.parquet" if name == "hf_faces" else root


def first_weights(folder: Path, name: str, given: Path | None) -> Path:
    """Writes a backbone's initial weights for fervid, and the same weights for Keras as ``.npz`` in the same folder.

    Args:
        folder: output folder.
        name: torchvision's name of the network.
        given: path to a state dict; None: random weights.
    """
    path = folder / "weights" / f"{name}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    network = random_network(name, mean=(0, 0, 0), std=(1, 1, 1))  # as the Hugging Face presets show their pictures
    if given:
        missing, _ = network.load_state_dict(torch.load(given, map_location="cpu", weights_only=True), strict=False)
        if any(key.startswith("features.") for key in missing):
            sys.exit(f"--weights={given} is not a state dict of {name}: {missing[0]} is missing.")
    features = {key: value for key, value in network.state_dict().items() if key.startswith("features.")}
    torch.save(features, path)
    tensors = [value.numpy() for key, value in features.items() if not key.endswith("num_batches_tracked")]
    np.savez(path.with_suffix(".npz"), **{f"{number:04d}": value for number, value in enumerate(tensors)})
    return path


@dataclass
class Bench:
    """Measures one pipeline in fervid and Keras.

    Attributes:
        results: the results of each run, by alternative.
    """

    name: str
    keras: Path
    folder: Path
    weights: Path | None

    def __post_init__(self) -> None:
        self.pipeline = PIPELINES[self.name]
        self.root = corpus(self.folder, self.pipeline.corpus)
        self.frames: Path | None = None
        self.results: dict[str, list[dict[str, Any]]] = {}

    def fervid(self, side: str, *overrides: str) -> float:
        """Runs fervid with an empty cache; returns the seconds of the whole process."""
        settings = [f"dataset.root={self.root}", *self.pipeline.overrides, *overrides]
        for number, epochs in enumerate(self.pipeline.epochs):
            settings += [f"finetune.phases.{number}.epochs={epochs}", f"finetune.phases.{number}.patience=null"]
        if self.weights:
            settings.append(f"backbone.weights={self.weights}")
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            run = Path(work) / "run"
            command = [sys.executable, "-m", "fervid.train", f"experiment={self.name}", *settings]
            seconds, busy, _ = _timed([*command, f"cache_dir={work}/cache", f"hydra.run.dir={run}"])
            found = json.loads((run / "results.json").read_text())
            if self.frames is None:
                self.frames = self.folder / f"{self.name}.csv"
                manifest = pd.read_parquet(run / "manifest.parquet")
                manifest[["path", "frame", "emotion", "split"]].to_csv(self.frames, index=False)
        self.results.setdefault(side, []).append(
            {
                "accuracy": found["metrics"]["test/accuracy"],
                "uar": found["metrics"]["test/uar"],
                "train_accuracy": found["metrics"]["train/accuracy"],
                "parameters": found["parameters"]["total"],
                "learning": list(found["parameters"]["trainable"].values()),
                "classes": len(found["class_names"]),
                "frames": found["data"]["split"],
                "epochs": found["epochs"],
                "seconds": found["seconds"],
                "wall": seconds,
                "processor": busy,
            }
        )
        return seconds

    def in_keras(self) -> float:
        """Runs Keras on the frames of fervid's split; returns the seconds of the whole process."""
        assert self.frames is not None
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            command = [self.keras, KERAS, self.name, "--root", self.root, "--frames", self.frames, "--folder", work]
            command += ["--epochs", *self.pipeline.epochs]
            command += ["--weights", self.weights.with_suffix(".npz")] if self.weights else []
            seconds, busy, output = _timed([str(word) for word in command])
            found = json.loads(output.splitlines()[-1])
        self.results.setdefault("keras", []).append(found | {"wall": seconds, "processor": busy})
        return seconds

    def measure(self, repeats: int) -> None:
        """Measures both alternately; fervid first, since Keras uses its split."""
        ours = {"fervid": lambda: self.fervid("fervid")}
        if self.name.startswith("hf_"):
            views = f"fervid, {VIEWS} views"
            ours = {views: lambda: self.fervid(views, f"finetune.cached_views={VIEWS}"), **ours}
        seconds = by_turns({**dict(list(ours.items())[:1]), "keras": self.in_keras, **ours}, repeats)
        for side in ours:
            self.print_figures(side, ratios(seconds["keras"], seconds[side]))
            self.parts(side)
        print(json.dumps({self.name: self.results}), flush=True)

    def print_figures(self, side: str, values: list[float]) -> None:
        """Prints one line that compares fervid with Keras."""
        fervid, keras = self.results[side], self.results["keras"]
        void = self.void(fervid, keras)
        note = (
            f"{_span(r['wall'] for r in keras)} / {_span(r['wall'] for r in fervid)} s (of processors "
            f"{_span(r['processor'] for r in keras)} / {_span(r['processor'] for r in fervid)} s), test accuracy "
            f"{_mean(keras, 'accuracy'):.1%} / {_mean(fervid, 'accuracy'):.1%} (UAR {_mean(keras, 'uar'):.1%} / "
            f"{_mean(fervid, 'uar'):.1%}), frames {keras[0]['frames']}"
        )
        goal, note = ("", f"VOID, {void}; {note}") if void else (self.pipeline.goal, note)
        print_figures(Figure("peers", f"keras / {side}, {self.name}", values, goal, note=note))

    def parts(self, side: str) -> None:
        """Prints one line per part of the pipeline; of these, only the frozen epochs have a goal."""
        void = self.void(self.results[side], self.results["keras"])
        fervid, keras = ([run["seconds"] for run in self.results[name]] for name in (side, "keras"))
        kept = ", including cached features" if self.weights else ""
        found = [
            ("preparation", [run["prepare"] for run in keras], [run["prepare"] for run in fervid], "", ""),
            ("training", [run["fit"] for run in keras], [run["fit"] for run in fervid], kept, ""),
        ]
        if self.name.startswith("hf_"):
            ours = [run["fit"] - run["by_phase"]["fine_tune"] for run in fervid]
            frozen = f"its {self.pipeline.epochs[0]} frozen epochs"
            found.append((frozen, [run["phase_0"] for run in keras], ours, kept, self.pipeline.goal))
        for part, theirs, ours, aside, goal in found:
            note = f"{_span(theirs)} / {_span(ours)} s{aside}" + (f"; VOID, {void}" if void else "")
            what = f"keras / {side}, {self.name}, only {part}"
            print_figures(Figure("peers", what, ratios(theirs, ours), "" if void else goal, note=note))

    def void(self, fervid: list[dict[str, Any]], keras: list[dict[str, Any]]) -> str:
        """Returns why the two cannot be compared; empty if they can."""
        if (fervid[0]["parameters"], fervid[0]["learning"]) != (keras[0]["parameters"], keras[0]["learning"]):
            return (
                f"parameters differ: {keras[0]['parameters']:,} with {keras[0]['learning']} trainable / "
                f"{fervid[0]['parameters']:,} with {fervid[0]['learning']}"
            )
        counts = [run["frames"] for run in (keras[0], fervid[0])]
        if max(abs(counts[0][side] - counts[1][side]) / counts[1][side] for side in counts[1]) > 0.05:
            return f"frames differ: {counts[0]} / {counts[1]}"  # one of the two found no face in some of them
        tested, chance = keras[0]["frames"]["test"], 1 / fervid[0]["classes"]
        for name, runs in (("fervid", fervid), ("Keras", keras)):
            if _mean(runs, "uar") < chance + 2 * math.sqrt(chance * (1 - chance) / tested):
                return f"{name} does not learn"
        a, b = _mean(fervid, "accuracy"), _mean(keras, "accuracy")
        if abs(a - b) > 3 * math.sqrt((a * (1 - a) + b * (1 - b)) / tested):
            return f"the accuracies differ by {abs(a - b):.0%}"
        return ""


def _mean(runs: list[dict[str, Any]], score: str) -> float:
    return sum(run[score] for run in runs) / len(runs)


def _span(values: Any) -> str:
    least, most = min(found := [float(value) for value in values]), max(found)
    return f"{least:.1f}" if f"{least:.1f}" == f"{most:.1f}" else f"{least:.1f} to {most:.1f}"


def _timed(command: list[str]) -> tuple[float, float, str]:
    """Returns the wall seconds of a process, the processor seconds of it and its children, and its output."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main() -> None:
    """Renders the corpora and prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keras", type=Path, default=Path(".venv-keras/bin/python"), help="Python interpreter with Keras"
    )
    parser.add_argument("--only", nargs="+", choices=PIPELINES, help="run only these pipelines")
    parser.add_argument("--all", action="store_true", help=f"also run the slow pipelines: {', '.join(SLOW)}")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="a state dict with ImageNet weights of MobileNetV2")
    parser.add_argument("--folder", type=Path, help="folder that keeps the rendered corpora for later runs")
    arguments = parser.parse_args()
    if not arguments.keras.exists():
        sys.exit(
            f"--keras={arguments.keras} does not exist: create it with python -m venv .venv-keras && "
            ".venv-keras/bin/python -m pip install -r benchmarks/keras_requirements.txt, or with make bench."
        )
    folder = (arguments.folder or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for python, modules in ((arguments.keras, "keras, cv2, pandas"), (sys.executable, "fervid.train.training")):
        subprocess.run(
            [python, "-c", f"import {modules}"], check=True, capture_output=True
        )  # compiles the imported modules
    try:
        for name in arguments.only or [name for name in PIPELINES if arguments.all or name not in SLOW]:
            pipeline, weights = PIPELINES[name], None
            if pipeline.backbone:
                given = arguments.weights if pipeline.backbone == "mobilenet_v2" else None
                weights = first_weights(folder, pipeline.backbone, given)
            Bench(name, arguments.keras.absolute(), folder, weights).measure(arguments.repeats)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
