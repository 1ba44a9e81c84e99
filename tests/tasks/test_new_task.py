"""A new task: one class and one yaml file suffice to train, record and list it."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from fervid import load_run

TASK = """
import numpy as np
import pandas as pd
from torch.nn import functional as F
from torchmetrics import MeanMetric

from fervid.tasks.task import Task


class SecondsTarget:
    name = "time"
    size = 1

    def fit(self, samples):
        self.mean = float(samples.loc[samples["split"] == "train", "time"].mean())

    def values(self, samples):
        return samples["time"].to_numpy(dtype=np.float32)

    def balancing_weights(self, samples):
        raise AssertionError


class Seconds(Task):
    'Tells when in its clip a frame was taken, in seconds.'

    shown = ("loss",)
    monitors = ("val/loss",)

    def __init__(self, network, target, *, weight=1.0, **options):
        super().__init__(network, target, **options)
        self.mean, self.weight = target.mean, weight
        self.losses = {subset: MeanMetric() for subset in ("train", "val", "test")}

    @classmethod
    def make_target(cls):
        return SecondsTarget()

    def loss_of(self, outputs, targets):
        return self.weight * F.mse_loss(outputs[:, 0] + self.mean, targets)

    def recorded_outputs(self, outputs):
        return {"seconds": outputs[:, 0] + self.mean}

    def count(self, subset, outputs, targets, loss):
        self.losses[subset].update(loss.detach(), len(targets))

    def log_scores(self, subset):
        value = self.losses[subset].compute().item()
        self.losses[subset].reset()
        self.scores[subset] = {f"{subset}/loss": value}
        self.log(f"{subset}/loss", value)

    def predictions(self, samples, recorded):
        return samples.assign(predicted_time=recorded["seconds"])

    def measure(self, predictions):
        error = (predictions["predicted_time"] - predictions["time"]).abs().mean()
        return {"task": "seconds", "metrics": {"test/error": float(error)}, "mean": self.mean}

    @classmethod
    def stored_target(cls, results):
        target = cls.make_target()
        target.mean = results["mean"]
        return target
"""
YAML = """
_target_: seconds_task.Seconds
weight: 2.0
"""


@pytest.fixture
def seconds(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "seconds_task.py").write_text(TASK)
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "seconds.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield tmp_path
    sys.modules.pop("seconds_task", None)


def test_new_task_is_trained_recorded_and_listed(seconds, fervid_command, cache, capsys):
    run, words = seconds / "run", [f"--config-dir={seconds / 'conf'}", "task=seconds", "finetune.monitor=val/loss"]
    words += ["experiment=smoke", "trainer.max_epochs=2", f"cache_dir={cache}", "+trainer.enable_progress_bar=false"]
    fervid_command("train", *words, f"hydra.run.dir={run}")
    output = capsys.readouterr().out
    assert "val loss" in output
    assert "error" in output
    assert "UAR" not in output
    assert "whole clips" not in output  # this task has no clip scores

    results = json.loads((run / "results.json").read_text())
    table = pd.read_csv(run / "predictions.csv")
    assert results["task"] == "seconds"
    assert "class_names" not in results
    assert set(results["metrics"]) == {"train/loss", "val/loss", "test/loss", "test/error"}
    assert results["metrics"]["test/error"] == pytest.approx((table["predicted_time"] - table["time"]).abs().mean())
    # Twice the mean squared error, by the weight in the yaml file.
    squared = np.square(table["predicted_time"] - table["time"]).mean()
    assert results["metrics"]["test/loss"] == pytest.approx(2 * squared, rel=1e-4)
    assert (run / "curves.png").exists()

    model = load_run(run, trust="seconds_task")
    assert (type(model).__name__, model.mean) == ("Seconds", results["mean"])
    assert model(torch.rand(2, 3, 28, 28)).shape == (2, 1)

    fervid_command("report", f"runs={run}", f"hydra.run.dir={seconds / 'report'}")
    assert pd.read_csv(seconds / "report" / "tables" / "runs.csv")["folder"].tolist() == [str(run)]
    output = capsys.readouterr().out
    assert "no report section for the task seconds" in output
    assert "give trust=<package> if your package has one" in " ".join(output.split())
    assert "scores.csv" not in output
    assert not (seconds / "report" / "scores.csv").exists()
    fervid_command("report", f"runs={run}", "paper=ised", f"hydra.run.dir={seconds / 'of_a_paper'}")


@pytest.mark.parametrize("command", ["export", "explain", "evaluate"])
def test_commands_for_emotions_reject_new_task_in_one_sentence(seconds, fervid_command, cache, capsys, command):
    run = seconds / "run"
    words = [f"--config-dir={seconds / 'conf'}", "task=seconds", "finetune.monitor=val/loss", "experiment=smoke"]
    words += ["trainer.max_epochs=1", f"cache_dir={cache}", "+trainer.enable_progress_bar=false", "logger=none"]
    fervid_command("train", *words, f"hydra.run.dir={run}")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        fervid_command(command, words[0], f"run={run}")
    assert "is a run of the task seconds" in capsys.readouterr().err
