"""Training pictures per second of the whole program on a GPU: ``python benchmarks/gpu.py``.

The bare step uses tensors that are already on the device, in bfloat16 and channels_last. fervid.train includes
everything: gathering and augmenting faces on the device, scores, curves, checkpoints and the first upload. The pictures
are random noise, since their content does not affect the speed. With ``--compile``, a compiled bare step is measured
too, to show where compilation would help. The note also gives the rate of a typical epoch, without the first upload and
the search for the fastest algorithms in the first epoch.

Use ``--device cpu`` to test the script itself without a GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bare_step import BareStep
from timing import Figure, by_turns, print_figures, ratios

from fervid.data import SyntheticDataModule
from fervid.data.datamodule import EmotionDataModule
from fervid.synthetic.rendering import EMOTIONS

NETWORKS = {
    "VGG16 at 90 px": ["backbone=vgg16", "head=vgg16"],
    "VGG16 at 224 px": ["backbone=vgg16", "backbone.image_size=224"],
    "AlexNet at 227 px": ["backbone=alexnet_ised"],
    "MobileNetV2 at 224 px": ["backbone=mobilenet_v2"],
    "EfficientNet-B2 at 224 px": ["backbone=efficientnet_b2", "backbone.image_size=224"],
}


class Noise:
    """A corpus of random noise.

    Args:
        count: number of pictures.
        size: their side length in pixels.
    """

    name, subjects_from, face_size = "noise", None, None

    def __init__(self, count: int, size: int):
        self.count, self.size = count, size
        self.failures = pd.DataFrame(columns=["path", "reason", "outcome"])

    def fingerprint(self) -> str:
        """Returns an empty text: the pictures depend only on the table of frames."""
        return ""

    def about(self) -> dict:
        """Returns the record of a rendered corpus."""
        return SyntheticDataModule().corpora[0]

    def frames(self) -> pd.DataFrame:
        """Returns a table with ten subjects and balanced emotions; every picture is a separate clip."""
        numbers = np.arange(self.count)
        subjects = [f"person {number}" for number in numbers // len(EMOTIONS) % 10]
        emotions = np.array(EMOTIONS)[numbers % len(EMOTIONS)]
        clips = [f"clip {number}" for number in numbers]
        same = {"corpus": self.name, "frame": 0, "time": 0.0, "path": ""}
        return pd.DataFrame({"subject": subjects, "clip": clips, "emotion": emotions}).assign(**same)

    def open_pictures(self, frames: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Returns a function that generates the picture of a row."""
        shape = (self.size, self.size, 3)
        return lambda row: np.random.default_rng(row).integers(0, 256, shape, dtype=np.uint8)


class NoiseDataModule(EmotionDataModule):
    """Datamodule of random noise; for further options see :class:`EmotionDataModule`."""

    def __init__(self, *, count: int, image_size: int, **options):
        super().__init__([Noise(count, image_size)], image_size=image_size, **options)


def settings(words: list[str], count: int, batch_size: int) -> list[str]:
    """Returns the settings of a training on noise with all stages trainable."""
    dataset = f"{{_target_:gpu.NoiseDataModule,count:{count},batch_size:{batch_size},num_workers:0}}"
    own = ["~dataset", f"+dataset={dataset}", "finetune=full", "augmentation=hf_faces", "optimizer=sgd"]
    return [*words, "backbone.weights=null", *own]


def fervid(words: list[str], cache: str, epochs: int, trainer: str) -> tuple[float, float]:
    """Runs the whole command; returns the seconds per epoch, on average and of the median epoch."""
    with tempfile.TemporaryDirectory() as folder:
        own = [f"trainer={trainer}", f"finetune.phases.0.epochs={epochs}", "finetune.phases.0.patience=null"]
        command = [sys.executable, "-m", "fervid.train", *words, *own, f"cache_dir={cache}"]
        here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        subprocess.run([*command, f"hydra.run.dir={folder}/run"], check=True, env=here, stdout=subprocess.DEVNULL)
        results = json.loads(Path(folder, "run", "results.json").read_text())
    if results["epochs"] != epochs:  # the seconds per epoch would be wrong
        sys.exit(f"fervid.train ran for {results['epochs']} epochs instead of {epochs}: see its settings in gpu.py.")
    return results["seconds"]["fit"] / epochs, results["seconds"]["by_epoch"]["full"]


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--count", type=int, default=10_000, help="number of pictures")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--compile", action="store_true", help="also measure a compiled bare step")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("GPU: not measured, since torch finds no GPU.")
        return
    trainer = "gpu" if arguments.device == "cuda" else "cpu"
    for name, network in NETWORKS.items():
        if arguments.only not in (None, name):
            continue
        words = settings(network, arguments.count, arguments.batch_size)
        with tempfile.TemporaryDirectory() as cache:
            bare = BareStep(words, cache, arguments.device)
            typical = []

            def whole_program(words: list[str] = words, cache: str = cache, typical: list[float] = typical) -> float:
                mean, median = fervid(words, cache, arguments.epochs, trainer)
                typical.append(median)
                return mean

            sides = {
                "fervid": whole_program,
                "bare": lambda bare=bare: bare(arguments.epochs),
            }
            if arguments.compile:
                compiled = BareStep(words, cache, arguments.device, compiled=True)
                compiled(1)  # compiles
                sides["compiled"] = lambda compiled=compiled: compiled(arguments.epochs)
            bare(1)  # warms up
            seconds = by_turns(sides, arguments.repeats)
        learned = sum(len(labels) for _, labels in bare.train)
        measured = {**seconds, "fervid's median epoch": typical}
        rates = ", ".join(f"{side} {learned / np.median(values):,.0f}" for side, values in measured.items())
        figures = ratios(seconds["bare"], seconds["fervid"])
        print_figures(
            Figure("GPU", f"fervid / bare step, {name}", figures, ">= 0.9", note=f"training pictures/s: {rates}")
        )


if __name__ == "__main__":
    main()
