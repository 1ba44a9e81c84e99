"""A task with a numeric target: the intensity of the emotion, 0 (normal) or 1 (strong)."""

import numpy as np
from torch.nn import functional
from torchmetrics import MeanMetric

from fervid.errors import InputError
from fervid.tasks.task import Task


class IntensityTarget:
    """Reads the column ``intensity`` of the manifest."""

    name = "intensity"  # the entry of a batch that holds the numbers
    size = 1  # outputs of the head

    def fit(self, samples):
        if "intensity" not in samples:
            raise InputError("the corpus has no column intensity: choose dataset=synthetic or dataset=ravdess.")

    def values(self, samples):
        return (samples["intensity"] == "strong").to_numpy(dtype=np.float32)

    def balancing_weights(self, samples):
        raise InputError("intensity has no classes to balance: leave dataset.sampler=shuffle.")


class Intensity(Task):
    """Estimates the intensity with one output and a mean squared error."""

    shown = ("loss",)  # the scores that are printed after each epoch
    monitors = ("val/loss",)  # the scores by which the best epoch may be chosen

    def __init__(self, network, target, **options):
        super().__init__(network, target, **options)
        self.losses = {subset: MeanMetric() for subset in ("train", "val", "test")}

    @classmethod
    def make_target(cls):
        return IntensityTarget()

    def loss_of(self, outputs, targets):
        return functional.mse_loss(outputs[:, 0], targets)

    def recorded_outputs(self, outputs):
        return {"intensity": outputs[:, 0]}

    def count(self, subset, outputs, targets, loss):
        self.losses[subset].update(loss.detach().cpu(), len(targets))

    def log_scores(self, subset):
        self.scores[subset] = {f"{subset}/loss": self.losses[subset].compute().item()}
        self.losses[subset].reset()
        self.log_dict(self.scores[subset])

    def predictions(self, samples, recorded):
        target = self.target.values(samples)
        return samples.assign(label=target, predicted=recorded["intensity"])

    def measure(self, predictions):
        error = (predictions["predicted"] - predictions["label"]).abs().mean()
        return {"task": "intensity", "metrics": {"test/error": float(error)}}
