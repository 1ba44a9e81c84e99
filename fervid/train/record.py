"""The parts of ``results.json`` that describe a network and its training."""

from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from fervid.callbacks import FreezeThenFineTune
from fervid.cli.overrides import overridden_settings
from fervid.data.datamodule import EmotionDataModule
from fervid.runs.record import describe
from fervid.schema.weights import joined, with_weights
from fervid.tasks.task import Task


def collect(
    config: DictConfig,
    trainer: pl.Trainer,
    model: Task,
    datamodule: EmotionDataModule,
    finetune: FreezeThenFineTune,
    predictions: pd.DataFrame,
    alone: dict[str, pd.DataFrame],
    warnings: list[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Collects the results record of a training run.

    Args:
        config: configuration of the run.
        trainer: the trainer after testing.
        model: the trained model.
        datamodule: the corpus with its split.
        finetune: holds the history of the epochs and the best epoch.
        predictions: one row per test sample.
        alone: the predictions from each modality alone, if there are several.
        warnings: warnings that were logged during the run.
        seconds: durations in seconds by name: ``prepare``, ``fit`` and ``test``.

    Returns:
        The entries of :func:`fervid.runs.record.describe` and those of the network and its training, as plain
        containers.
    """
    described = describe(config, datamodule, warnings) | model.measure(predictions)
    best = next((row for row in finetune.history if row["epoch"] == finetune.best["epoch"]), {})
    single = {
        name.replace("test/", f"test_{modality}/"): value
        for modality, table in alone.items()
        for name, value in model.measure(table)["metrics"].items()
        if name.startswith("test/") and not name.startswith("test/clip_")
    }
    kept = {name: value for name, value in best.items() if name.startswith(("train/", "val/"))}
    phases = pd.DataFrame(finetune.history).groupby("phase", sort=False)["seconds"]
    device = trainer.strategy.root_device
    encoders = list(model.network.encoders.values())
    settings = {each.group: each.settings for each in encoders if each.settings}
    weights = joined([each.weights.as_dict() for each in encoders])
    return (
        described
        | finetune.results()
        | ({"encoder_settings": settings} if settings else {})
        | {
            "metrics": kept | described["metrics"] | single | {"test/loss": model.scores["test"]["test/loss"]},
            "best_epoch": finetune.best["epoch"],
            "best_score": finetune.best["score"],
            "epochs": len(finetune.history),
            "seconds": {**seconds, "by_phase": phases.sum().to_dict(), "by_epoch": phases.median().to_dict()},
            "parameters": {
                "total": sum(parameter.numel() for parameter in model.parameters()),
                "trainable": finetune.trainable,
            },
            "weights": weights,
            "leakage": with_weights(described["leakage"], weights, described["data"]["corpora"]),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "trainer_precision": str(trainer.precision),
            "history": finetune.history,
        }
    )


def compared_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the settings to compare on TensorBoard's HPARAMS page.

    The page shows five columns in alphabetical order. Therefore only the settings that the user gave are listed, not
    all settings of the run.
    """
    chosen = config.get("choices") or {}
    groups = [group for group in ("backbone", "dataset", "optimizer") if group in chosen]  # ~dataset removes a group
    return {group: chosen[group] for group in groups} | overridden_settings(config)
