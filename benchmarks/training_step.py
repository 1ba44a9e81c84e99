"""Compares an epoch of fervid with the bare step and a plain loop: ``python benchmarks/training_step.py``.

Takes about five minutes on two cores. The bare step is the forward, backward and optimizer step of the same network on
tensors that are already in memory, and only the forward pass for validation: a lower bound for any program. The plain
loop is written without Lightning: a DataLoader over the same faces, loss and accuracy on both subsets, and saving the
best weights.

``fervid.train`` runs once per network and waits before each epoch for its turn, so that the alternatives take turns
every few seconds. The first epoch of each is a warm-up; the last, which includes the end of the run, is not measured.
An epoch of fervid includes loading, steps, validation, scores, saving the best weights, and a checkpoint if one is
due. The remaining time of ``trainer.fit``, mostly for the first and last checkpoints, is printed separately; for
LeNet, it is distributed over the epochs.

Both keep freed memory (``fervid/processes/memory.py``), so that the ratio shows only what fervid adds. For
MobileNetV2, the bare step is also measured in a process with torch's default memory management.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from bare_step import BareStep, model_and_data
from pytorch_lightning.callbacks import Checkpoint
from timing import Figure, by_turns, print_figures, ratios
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

import fervid.train
from fervid.data.datamodule import EmotionDataModule
from fervid.processes.memory import keep_memory
from fervid.train import training

SMALL = ["dataset.identities=10", "dataset.clips=1"]  # 192 frames to train, 64 to validate
ALL_LEARN = ["on_missing_weights=warn", "backbone.weights=null", "finetune=full"]
SETTINGS = {
    "VGG16 at 90 px": ["backbone=vgg16", "head=vgg16", "optimizer=adam", *SMALL, *ALL_LEARN],
    "AlexNet at 227 px": ["backbone=alexnet_ised", "optimizer=sgd_plain", *SMALL, *ALL_LEARN],
    "MobileNetV2 at 224 px": ["backbone=mobilenet_v2", "optimizer=adam", *SMALL, *ALL_LEARN],
}
SOUND = ["sample=sound"]  # 360 sounds to train, 120 to validate
LENET = ["backbone=lenet", "optimizer=rmsprop", "dataset.batch_size=10"]  # 1,344 and 480 frames
A_TURN = 5  # epochs of LeNet per turn; each takes a second


class Turns(Checkpoint):
    """Pauses a training run before each epoch; a ``Checkpoint``, since Lightning calls these last in an epoch.

    Args:
        pipe: connection to which the seconds of each epoch are sent, and which receives the signal for the next.
    """

    def __init__(self, pipe: Connection):
        self.pipe, self.waited = pipe, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._wait()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pipe.send(time.perf_counter() - self.began)
        if trainer.current_epoch + 1 < trainer.max_epochs:
            self._wait()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pipe.send(self.waited)

    def _wait(self) -> None:
        waiting = time.perf_counter()
        self.pipe.recv()
        self.began = time.perf_counter()
        self.waited += self.began - waiting


def train_by_turns(pipe: Connection, words: list[str], log: Path) -> None:
    """Runs the whole command ``fervid.train``, paused after each epoch."""
    # The command cannot pass callbacks to the trainer; everything else is unchanged.
    training.train = partial(training.train, callbacks=[Turns(pipe)])
    sys.argv = ["fervid.train", *words]
    with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        fervid.train.main()


class Training:
    """Runs ``fervid.train`` in a separate process, one epoch per call.

    Args:
        settings: settings as on the command line.
        cache: folder of the cached faces.
        epochs: number of calls; one more epoch is trained at the end.
    """

    def __init__(self, settings: list[str], cache: str, epochs: int):
        self.epochs, self._seconds = epochs + 1, list[float]()
        self._folder = tempfile.TemporaryDirectory()
        self._run, self._log = Path(self._folder.name, "run"), Path(self._folder.name, "log.txt")
        words = [*settings, f"trainer.max_epochs={self.epochs}", f"cache_dir={cache}"]
        words += [
            f"hydra.run.dir={self._run}",
            f"finetune.phases.0.epochs={self.epochs}",
            "finetune.phases.0.patience=null",
        ]
        spawn = multiprocessing.get_context("spawn")
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=train_by_turns, args=(other, words, self._log))
        self._process.start()
        other.close()  # otherwise the end of the process would not be noticed

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.close()  # ends a run that is waiting for its turn
        self._process.join(timeout=60)
        self._process.kill()
        self._folder.cleanup()

    def __call__(self) -> float:
        """Trains one epoch; returns the seconds."""
        self._seconds.append(self._train())
        return self._seconds[-1]

    def rest(self) -> float:
        """Trains the last epoch and waits for the end; returns the time of ``trainer.fit`` beyond the median epochs."""
        self._train()
        waited = self._answer()
        self._process.join()
        fit = json.loads((self._run / "results.json").read_text())["seconds"]["fit"]
        return fit - waited - self.epochs * float(np.median(self._seconds))

    def _train(self) -> float:
        with suppress(BrokenPipeError):  # the process has ended; _answer() reports it
            self._pipe.send("continue")
        return self._answer()

    def _answer(self) -> float:
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise SystemExit(f"fervid.train ended too early:\n{self._log.read_text()[-2000:]}") from None


class Faces(Dataset):
    """Faces of one subset, loaded one by one as in most scripts."""

    def __init__(self, datamodule: EmotionDataModule, side: str):
        frames = datamodule.manifest[datamodule.manifest["split"] == side]
        self.faces, self.rows = np.load(datamodule.face_cache.path, mmap_mode="r"), frames["cache_row"].to_numpy()
        self.labels = [datamodule.class_names.index(emotion) for emotion in frames["emotion"]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        face = torch.from_numpy(self.faces[self.rows[number]].copy())
        return face.permute(2, 0, 1).float() / 255, self.labels[number]


class Sounds(Dataset):
    """Sounds of one subset, loaded one by one."""

    def __init__(self, datamodule: EmotionDataModule, side: str):
        clips = datamodule.samples_of(side)
        self.rows, self.stored = clips["clip_row"].tolist(), datamodule.stores["sound"].rows
        self.labels = [datamodule.class_names.index(emotion) for emotion in clips["emotion"]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.stored[self.rows[number]].astype(np.float32) / 32768), self.labels[number]


def padded(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Collates sounds of different length, as the networks of fervid expect them."""
    sounds, labels = zip(*samples, strict=True)
    return pad_sequence(sounds, batch_first=True, padding_value=torch.nan), torch.tensor(labels)


class PlainLoop:
    """A plain training loop, one epoch per call.

    Args:
        settings: settings as on the command line.
        cache: folder of the cached inputs and the best weights.
        threads: number of threads of torch.
    """

    def __init__(self, settings: list[str], cache: str, threads: int):
        self.model, datamodule = model_and_data(settings, cache)
        self.optimizer, self.best = self.model.configure_optimizers(), 0.0
        self.path, self.threads = Path(cache) / "best.pt", threads
        is_sound = "sound" in datamodule.stores
        data, collate = (Sounds, padded) if is_sound else (Faces, None)
        train, val = data(datamodule, "train"), data(datamodule, "val")
        self.train = DataLoader(train, batch_size=datamodule.batch_size, shuffle=True, collate_fn=collate)
        self.val = DataLoader(val, batch_size=64, collate_fn=collate)

    def __call__(self) -> float:
        """Trains one epoch; returns the seconds."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        self.model.train()
        total, right = 0.0, 0
        for images, labels in self.train:
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
        self.model.eval()
        total, right = 0.0, 0
        with torch.no_grad():
            for images, labels in self.val:
                logits = self.model(images)
                total += F.cross_entropy(logits, labels).item() * len(labels)
                right += (logits.argmax(1) == labels).sum().item()
        if right > self.best:
            self.best = right
            torch.save(self.model.state_dict(), self.path)
        seconds = time.perf_counter() - began
        torch.set_num_threads(threads)
        return seconds


def with_default_memory(settings: list[str], cache: str) -> float:
    """Returns the seconds per epoch of the bare step in a separate process."""
    command = [sys.executable, str(Path(__file__).with_name("bare_step.py")), cache, "1", *settings]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def large(name: str, settings: list[str], cache: str, repeats: int) -> None:
    """Compares an epoch with the bare step."""
    bare = BareStep(settings, cache)
    with Training(settings, cache, 1 + repeats) as whole:
        sides: dict[str, Callable[[], float]] = {"fervid": whole, "bare": lambda: bare(1)}
        by_turns(sides, 1)  # warms up
        if name.startswith("MobileNetV2"):  # the network with the largest gain
            sides["default memory"] = lambda: with_default_memory(settings, cache)
        seconds = by_turns(sides, repeats)
        rest = whole.rest()
    note = f"{np.median(seconds['fervid']):.2f} s per epoch of {len(bare.train)} steps, and {rest:.1f} s once per run"
    figures = ratios(seconds["fervid"], seconds["bare"])
    print_figures(Figure("training step", f"fervid / bare step, {name}", figures, "<= 1.05", note=note))
    if "default memory" in seconds:
        figures = ratios(seconds["fervid"], seconds["default memory"])
        print_figures(Figure("training step", f"fervid / bare step with default memory management, {name}", figures))


def lenet(cache: str, repeats: int) -> None:
    """Compares an epoch, including its share of the rest of ``trainer.fit``, with the plain loop."""
    threads, epochs = torch.get_num_threads(), 1 + A_TURN * repeats
    plain, one_thread = PlainLoop(LENET, cache, threads), PlainLoop(LENET, cache, 1)
    with Training(LENET, cache, epochs) as whole:
        sides = {"fervid": whole, "plain": plain, "plain, one thread": one_thread}
        by_turns(sides, 1)  # warms up
        turns = {name: lambda side=side: sum(side() for _ in range(A_TURN)) / A_TURN for name, side in sides.items()}
        seconds = by_turns(turns, repeats)
        share = whole.rest() / whole.epochs
    seconds["fervid"] = [one + share for one in seconds["fervid"]]
    note = ", ".join(f"{name} {np.median(value) * 1e3:.0f} ms per epoch" for name, value in seconds.items())
    note += f" (fervid on 1 thread, the plain loop on {threads} unless stated)"
    figures = ratios(seconds["fervid"], seconds["plain"])
    print_figures(Figure("training step", "fervid / plain loop, LeNet, batches of 10", figures, "<= 1.2", note=note))
    figures = ratios(seconds["fervid"], seconds["plain, one thread"])
    print_figures(Figure("training step", "fervid / plain loop on one thread, LeNet", figures, "<= 1.2"))


def sound(cache: str, repeats: int) -> None:
    """Compares an epoch of the CNN on log-mel spectrograms with the plain loop."""
    plain = PlainLoop(SOUND, cache, torch.get_num_threads())
    with Training(SOUND, cache, 1 + repeats) as whole:
        sides = {"fervid": whole, "plain": plain}
        by_turns(sides, 1)  # warms up
        seconds = by_turns(sides, repeats)
        rest = whole.rest()
    note = ", ".join(f"{name} {np.median(value):.2f} s per epoch" for name, value in seconds.items())
    figures = ratios(seconds["fervid"], seconds["plain"])
    note += f"; {rest:.1f} s once per run"
    print_figures(Figure("training step", "fervid / plain loop, CNN on sound", figures, "<= 1.1", note=note))


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*SETTINGS, "LeNet", "sound"], help="one of the networks")
    arguments = parser.parse_args()
    keep_memory()
    with tempfile.TemporaryDirectory() as cache:
        for name, settings in SETTINGS.items():
            if arguments.only in (None, name):
                large(name, settings, cache, arguments.repeats)
        if arguments.only in (None, "LeNet"):
            lenet(cache, arguments.repeats)
        if arguments.only in (None, "sound"):
            sound(cache, arguments.repeats)


if __name__ == "__main__":
    main()
