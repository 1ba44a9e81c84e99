"""What is recorded of a network and its training, beside what is recorded of any run."""

from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from fervid.callbacks import FreezeThenFineTune
from fervid.cli.overrides import told_settings
from fervid.data.frame_datamodule import FrameDataModule
from fervid.runs.record import describe
from fervid.tasks.task import Task


def collect(
    config: DictConfig,
    trainer: pl.Trainer,
    model: Task,
    datamodule: FrameDataModule,
    finetune: FreezeThenFineTune,
    predictions: pd.DataFrame,
    warnings: list[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """As :func:`fervid.runs.record.describe`, with what is known of a network and its training."""
    described = describe(config, datamodule, warnings) | model.measure(predictions)
    best = next((row for row in finetune.history if row["epoch"] == finetune.best["epoch"]), {})
    kept = {name: value for name, value in best.items() if name.startswith(("train/", "val/"))}
    phases = pd.DataFrame(finetune.history).groupby("phase", sort=False)["seconds"]
    device = trainer.strategy.root_device
    return described | {
        "metrics": kept | described["metrics"] | {"test/loss": model.scores["test"]["test/loss"]},
        "best_epoch": finetune.best["epoch"],
        "best_score": finetune.best["score"],
        "epochs": len(finetune.history),
        "seconds": {**seconds, "by_phase": phases.sum().to_dict(), "by_epoch": phases.median().to_dict()},
        "parameters": {
            "total": sum(parameter.numel() for parameter in model.parameters()),
            "trainable": {phase.name: _learning(model, phase.unfreeze_from) for phase in finetune.phases},
        },
        "weights": model.backbone.weights.as_dict(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "trainer_precision": str(trainer.precision),
        "history": finetune.history,
    }


def compared_settings(config: DictConfig) -> dict[str, Any]:
    """What HPARAMS compares. It shows five columns, in the order of their names: what was told, not all there is."""
    chosen = config.get("choices") or {}
    groups = [group for group in ("backbone", "dataset", "optimizer") if group in chosen]  # ~dataset removes one
    return {group: chosen[group] for group in groups} | told_settings(config)


def _learning(model: Task, unfreeze_from: str) -> int:
    parameters = model.learning_parameters(model.backbone.stage_number(unfreeze_from))
    return sum(parameter.numel() for parameter in parameters)
