"""A run of the classical baseline, top to bottom."""

import logging
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline

from fervid.baseline.lgbp import check_settings, lgbp_features, make_classifier
from fervid.cli.folders import alone
from fervid.data.frame_datamodule import FrameDataModule
from fervid.errors import InputError
from fervid.metrics.aggregation import confusion, measure
from fervid.metrics.scores import scores
from fervid.runs.drawing import draw_predictions
from fervid.runs.finished import finished_score
from fervid.runs.printing import print_split, print_summary
from fervid.runs.record import WarningCollector, describe, write_manifest
from fervid.schema.predictions import predictions_table, write_predictions
from fervid.schema.results import write_results

log = logging.getLogger(__name__)


def baseline(config: DictConfig, folder: str | Path, *, resume: bool = False) -> float:
    """Fits the baseline on the training frames, scores the others and records the run.

    Args:
        config: of the command ``baseline``; :func:`fervid.cli.compose` gives one.
        folder: where everything that it leaves lies.
        resume: whether the same run may have been finished there before, which is then not run again.

    Returns:
        The validation UAR.

    Raises:
        InputError: if the configuration or the corpus cannot be used, another process is at work in the folder, or a
            finished run would be written over.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    look = partial(finished_score, folder, config, lambda: _read_corpus(config).fingerprint, resume=resume)
    with WarningCollector() as collected, ExitStack() as stack:
        finished = look()
        if finished is None:  # what is finished may be read by many at once
            stack.enter_context(alone(folder))
            finished = look()  # again: the process that held the folder until now may have finished the run
        return _run(config, folder, collected.sentences) if finished is None else finished


def _run(config: DictConfig, folder: Path, warnings: list[str]) -> float:
    began = time.perf_counter()
    check_settings(**_features(config))
    classifier = make_classifier(config.pca, config.seed)
    datamodule = _read_corpus(config)
    write_manifest(folder, datamodule)
    console = Console()
    print_split(console, datamodule)
    prepared = time.perf_counter()

    metrics = {"train/accuracy": _fit(classifier, config, datamodule)}
    fitted = time.perf_counter()

    tables = {}
    for side in ("val", "test"):
        tables[side], reached = _score(classifier, config, datamodule, side)
        metrics |= {f"{side}/{name}": value for name, value in reached.items()}
    seconds = {"prepare": prepared - began, "fit": fitted - prepared, "test": time.perf_counter() - fitted}

    results = {**describe(config, datamodule, warnings), **measure(tables["test"], datamodule.class_names)}
    results["metrics"] |= metrics
    results["choices"]["backbone"] = "lgbp"  # as tables call it
    results |= {"best_score": metrics["val/uar"], "seconds": seconds, "device": "cpu"}
    write_predictions(folder, tables["test"], tables["val"])
    # Before anything is drawn: no figure can lose what was learned.
    write_results(folder, results)
    draw_predictions(folder, datamodule, results, tables["test"])
    print_summary(console, folder, results)
    return metrics["val/uar"]


def _features(config: DictConfig) -> dict[str, int]:
    return {str(name): int(value) for name, value in config.features.items()}


def _read_corpus(config: DictConfig) -> FrameDataModule:
    datamodule = instantiate(
        config.dataset,
        image_size=int(config.features.image_size),
        split=instantiate(config.split),
        cache_dir=config.cache_dir,
        seed=config.seed,
        batch_size=1,  # it knows no batches: none is too large for the training side
        _convert_="all",
    )
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def _look_at(config: DictConfig, datamodule: FrameDataModule, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), labels (N,) and manifest rows (N,) of one side of the split."""
    frames = datamodule.frame_dataset(side)
    described = f"LGBP features of {len(frames)} {side} faces"
    x = lgbp_features(frames.face_cache[frames.rows], **_features(config), description=described)
    return x, frames.targets["emotion"].numpy(), frames.index.numpy()


def _fit(classifier: Pipeline, config: DictConfig, datamodule: FrameDataModule) -> float:
    """Fits the classifier on the training frames; its accuracy on them."""
    x, labels, _ = _look_at(config, datamodule, "train")
    if config.pca > min(x.shape):
        raise InputError(f"pca={config.pca} is more than {len(x)} training faces have: give {min(x.shape)} at most.")
    if config.pca < 1 and len(x) > 5000:
        log.info("PCA of %d faces by a share of variance takes long: pca=300, say, is faster.", len(x))
    classifier.fit(x, labels)
    return float(classifier.score(x, labels))


def _score(
    classifier: Pipeline, config: DictConfig, datamodule: FrameDataModule, side: str
) -> tuple[pd.DataFrame, dict[str, float]]:
    """The predictions of one side, one row a frame, and their scores with the loss."""
    x, labels, index = _look_at(config, datamodule, side)
    answers = classifier.predict_proba(x)
    table = predictions_table(datamodule.manifest.loc[index], answers, datamodule.class_names)
    loss = log_loss(labels, answers, labels=range(len(datamodule.class_names)))
    return table, scores(confusion(table, datamodule.class_names)).means() | {"loss": float(loss)}
