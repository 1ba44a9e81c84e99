"""A whole epoch of fervid against the bare step, and a plain loop: ``python benchmarks/training_step.py``.

The bare step is the same network's forward, backward and optimizer step on tensors that lie in memory already, and the
forward alone for the validation side: what no program can do without. The plain loop is what is written without
Lightning: a DataLoader over the same faces, loss and accuracy of either side, the best weights kept.

An epoch of fervid is what it notes in results.json: loading, steps, validation, scores. What else
``trainer.fit`` takes, most of it for the checkpoints at the end of a run, is told beside it; those on the way take a
fortieth at most. LeNet runs for the 25 epochs of its preset, and an epoch is a 25th of ``trainer.fit``.

Both keep the memory they free (``fervid/memory.py``), so that the ratio is what fervid adds; for MobileNetV2 the same
bare step in a process that does not, as torch comes, stands beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bare_step import BareStep, model_and_data
from timing import Figure, by_turns, ratios, tell
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from fervid.data.datamodule import FrameDataModule
from fervid.memory import keep_memory

SMALL = ["dataset.identities=10", "dataset.clips=1"]  # 192 frames to train, 64 to validate
ALL_LEARN = ["on_missing_weights=warn", "backbone.weights=null", "finetune=full"]
SETTINGS = {
    "VGG16 at 90 px": ["backbone=vgg16", "head=vgg16", "optimizer=adam", *SMALL, *ALL_LEARN],
    "AlexNet at 227 px": ["backbone=alexnet_ised", "optimizer=sgd_plain", *SMALL, *ALL_LEARN],
    "MobileNetV2 at 224 px": ["backbone=mobilenet_v2", "optimizer=adam", *SMALL, *ALL_LEARN],
}
LENET = ["backbone=lenet", "optimizer=rmsprop", "dataset.batch_size=10"]  # 1,344 and 480 frames


def fervid(settings: list[str], cache: str, epochs: int) -> tuple[float, float]:
    """Seconds of a middling epoch of the whole command, and seconds of its fit beside its epochs."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*settings, f"trainer.max_epochs={epochs}", f"cache_dir={cache}", f"hydra.run.dir={folder}/run"]
        words += ["finetune.phases.0.epochs=100", "finetune.phases.0.patience=null"]
        command = [sys.executable, "-m", "fervid.train", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        results = json.loads(Path(folder, "run", "results.json").read_text())
    inside = [row["seconds"] for row in results["history"]]
    return float(np.median(inside)), results["seconds"]["fit"] - sum(inside)


class Faces(Dataset):
    """Faces of one side, one by one, as most people write it."""

    def __init__(self, datamodule: FrameDataModule, side: str):
        frames = datamodule.manifest[datamodule.manifest["split"] == side]
        self.faces, self.rows = np.load(datamodule.store_path, mmap_mode="r"), frames["store_row"].to_numpy()
        self.labels = [datamodule.class_names.index(emotion) for emotion in frames["emotion"]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        face = torch.from_numpy(self.faces[self.rows[number]].copy())
        return face.permute(2, 0, 1).float() / 255, self.labels[number]


def plain(settings: list[str], cache: str, epochs: int, folder: Path) -> float:
    """Seconds an epoch of a plain loop."""
    model, datamodule = model_and_data(settings, cache)
    optimizer, best = model.configure_optimizers(), 0.0
    train = DataLoader(Faces(datamodule, "train"), batch_size=datamodule.batch_size, shuffle=True)
    val = DataLoader(Faces(datamodule, "val"), batch_size=64)
    began = time.perf_counter()
    for _ in range(epochs):
        model.train()
        total, right = 0.0, 0
        for images, labels in train:
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
        model.eval()
        total, right = 0.0, 0
        with torch.no_grad():
            for images, labels in val:
                logits = model(images)
                total += F.cross_entropy(logits, labels).item() * len(labels)
                right += (logits.argmax(1) == labels).sum().item()
        if right > best:
            best = right
            torch.save(model.state_dict(), folder / "best.pt")
    return (time.perf_counter() - began) / epochs


def as_torch_comes(settings: list[str], cache: str, epochs: int) -> float:
    """Seconds an epoch of the bare step in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("bare_step.py")), cache, str(epochs), *settings]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*SETTINGS, "LeNet"], help="one of the networks")
    arguments = parser.parse_args()
    keep_memory()
    with tempfile.TemporaryDirectory() as cache:
        for name, settings in SETTINGS.items():
            if arguments.only not in (None, name):
                continue
            bare, beside = BareStep(settings, cache), []

            def an_epoch(settings: list[str] = settings, beside: list[float] = beside) -> float:
                seconds, rest = fervid(settings, cache, 3)
                beside.append(rest)
                return seconds

            bare(1)  # warms up
            sides = {
                "fervid": an_epoch,
                "bare": lambda bare=bare: bare(3),
            }
            if name.startswith("MobileNetV2"):  # it gains most
                sides["as torch comes"] = lambda settings=settings: as_torch_comes(settings, cache, 1)
            seconds = by_turns(sides, arguments.repeats)
            note = f"{np.median(seconds['fervid']):.2f} s an epoch of {len(bare.train)} steps"
            note += f", and {np.median(beside):.1f} s once a run"
            figures = ratios(seconds["fervid"], seconds["bare"])
            tell(Figure("training step", f"fervid / bare step, {name}", figures, "<= 1.05", note=note))
            if "as torch comes" in seconds:
                figures = ratios(seconds["fervid"], seconds["as torch comes"])
                tell(Figure("training step", f"fervid / bare step as torch comes, {name}", figures))
        if arguments.only in (None, "LeNet"):
            bare, threads = BareStep(LENET, cache), torch.get_num_threads()

            def whole_fit() -> float:
                seconds, rest = fervid(LENET, cache, 25)
                return seconds + rest / 25

            def one_thread() -> float:
                torch.set_num_threads(1)  # as fervid trains a network of this size
                seconds = plain(LENET, cache, 25, Path(cache))
                torch.set_num_threads(threads)
                return seconds

            sides = {
                "fervid": whole_fit,
                "plain": lambda: plain(LENET, cache, 25, Path(cache)),
                "plain, one thread": one_thread,
                "bare": lambda: bare(25),
            }
            seconds = by_turns(sides, arguments.repeats)
            note = ", ".join(f"{name} {np.median(value) * 1e3:.0f} ms an epoch" for name, value in seconds.items())
            figures = ratios(seconds["fervid"], seconds["plain"])
            note += f" (fervid's on 1 thread, the others on {threads} unless told)"
            tell(Figure("training step", "fervid / plain loop, LeNet, batches of 10", figures, "<= 1.2", note=note))
            figures = ratios(seconds["fervid"], seconds["plain, one thread"])
            tell(Figure("training step", "fervid / plain loop on one thread, LeNet", figures, "<= 1.2"))


if __name__ == "__main__":
    main()
