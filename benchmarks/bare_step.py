"""Training steps on tensors that are already in memory: a lower bound for the time of any training program.

``python benchmarks/bare_step.py <cache> <epochs> <settings>`` prints the seconds per epoch in a separate process with
the default memory management of the C library.
"""

import sys
import time
from collections.abc import Sequence

import torch
from hydra import compose, initialize_config_dir
from torch.nn import functional as F

from fervid.data.datamodule import EmotionDataModule
from fervid.runs.build import make_datamodule, make_model
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.tasks.classification import EmotionClassifier


def model_and_data(settings: Sequence[str], cache: str) -> tuple[EmotionClassifier, EmotionDataModule]:
    """Returns the network and the corpus of a training command.

    Args:
        settings: settings as on the command line.
        cache: folder of the cached faces.
    """
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        config = compose("train", [*settings, f"cache_dir={cache}"])
    datamodule = make_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup()
    torch.manual_seed(config.seed)
    return make_model(config, datamodule.target), datamodule


class BareStep:
    """Forward, backward and optimizer step on preloaded batches, and only the forward pass for validation.

    Args:
        settings: settings as on the command line.
        cache: folder of the cached faces.
        device: the device; ``cuda`` uses bfloat16.
        compiled: whether to compile the network with ``torch.compile``.
    """

    def __init__(self, settings: Sequence[str], cache: str, device: str = "cpu", *, compiled: bool = False):
        classifier, datamodule = model_and_data(settings, cache)
        self.device = torch.device(device)
        if self.device.type == "cuda":  # as conf/trainer/gpu.yaml
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        classifier.to(self.device)
        self.optimizer = classifier.configure_optimizers()
        self.model = torch.compile(classifier) if compiled else classifier
        self.train, self.val = (
            [(batch["image"].to(self.device).float() / 255, batch["emotion"].to(self.device)) for batch in loader]
            for loader in (datamodule.train_dataloader(), datamodule.val_dataloader())
        )

    def __call__(self, epochs: int) -> float:
        """Runs the given number of epochs; returns the seconds per epoch."""
        self._wait()
        began = time.perf_counter()
        for _ in range(epochs):
            self.model.train()
            for images, labels in self.train:
                self.optimizer.zero_grad()
                self._loss(images, labels).backward()
                self.optimizer.step()
            self.model.eval()
            with torch.no_grad():
                for images, labels in self.val:
                    self._loss(images, labels)
        self._wait()
        return (time.perf_counter() - began) / epochs

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return F.cross_entropy(self.model(images), labels)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


if __name__ == "__main__":
    bare = BareStep(sys.argv[3:], sys.argv[1])
    bare(1)  # warms up
    print(bare(int(sys.argv[2])))
