"""Runs the classical baseline."""

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
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.metrics.aggregation import confusion, measure
from fervid.metrics.scores import scores
from fervid.runs.drawing import draw_predictions
from fervid.runs.finished import finished_score
from fervid.runs.people import print_people
from fervid.runs.printing import print_split, print_summary
from fervid.runs.record import WarningCollector, describe, write_manifest
from fervid.schema.predictions import predictions_table, write_predictions
from fervid.schema.results import write_results

log = logging.getLogger(__name__)


def baseline(config: DictConfig, folder: str | Path, *, resume: bool = False) -> float:
    """Fits the baseline on training frames, scores validation and test frames, and records the run.

    Args:
        config: configuration of the command ``baseline``, such as from :func:`fervid.cli.compose`.
        folder: run folder.
        resume: whether to skip the run if the same run is already finished in the folder.

    Returns:
        The validation UAR.

    Raises:
        InputError: if the configuration or corpus cannot be used, another process uses the folder, or a finished run
            would be overwritten.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    look = partial(finished_score, folder, config, lambda: _read_corpus(config).fingerprint, resume=resume)
    with WarningCollector() as collected, ExitStack() as stack:
        finished = look()
        if finished is None:  # several processes may read a finished run
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
    if datamodule.people is not None:
        print_people(console, datamodule)
    prepared = time.perf_counter()

    metrics = {"train/accuracy": _fit(classifier, config, datamodule)}
    fitted = time.perf_counter()

    tables = {}
    for subset in ("val", "test"):
        tables[subset], subset_scores = _score(classifier, config, datamodule, subset)
        metrics |= {f"{subset}/{name}": value for name, value in subset_scores.items()}
    seconds = {"prepare": prepared - began, "fit": fitted - prepared, "test": time.perf_counter() - fitted}

    results = {**describe(config, datamodule, warnings), **measure(tables["test"], datamodule.class_names)}
    results["metrics"] |= metrics
    results["choices"]["backbone"] = "lgbp"  # name in report tables
    results |= {"best_score": metrics["val/uar"], "seconds": seconds, "device": "cpu"}
    write_predictions(folder, tables["test"], tables["val"])
    # Written before figures are drawn, so that an error there does not lose the results.
    write_results(folder, results)
    draw_predictions(folder, datamodule, results, tables["test"])
    print_summary(console, folder, results)
    return metrics["val/uar"]


def _features(config: DictConfig) -> dict[str, int]:
    return {str(name): int(value) for name, value in config.features.items()}


def _read_corpus(config: DictConfig) -> EmotionDataModule:
    datamodule = instantiate(
        config.dataset,
        image_size=int(config.features.image_size),
        split=instantiate(config.split),
        identity=instantiate(config.get("identity"), _convert_="all"),
        cache_dir=config.cache_dir,
        seed=config.seed,
        batch_size=1,  # not used; 1 is valid for every size of the training subset
        _convert_="all",
    )
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def _extract(
    config: DictConfig, datamodule: EmotionDataModule, subset: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), labels (N,) and manifest rows (N,) of a subset."""
    rows = datamodule.input_rows("image", subset)
    described = f"LGBP features of {len(rows)} {subset} faces"
    x = lgbp_features(datamodule.face_cache[rows], **_features(config), description=described)
    samples = datamodule.samples_of(subset)
    return x, datamodule.target.values(samples), samples.index.to_numpy()


def _fit(classifier: Pipeline, config: DictConfig, datamodule: EmotionDataModule) -> float:
    """Fits the classifier on the training frames and returns its accuracy on them."""
    x, labels, _ = _extract(config, datamodule, "train")
    if config.pca > min(x.shape):
        raise InputError(f"pca={config.pca} is too large for {len(x)} training faces: use at most {min(x.shape)}.")
    if config.pca < 1 and len(x) > 5000:
        log.info(
            "PCA of %d faces by a fraction of variance is slow: a number of components such as pca=300 is faster.",
            len(x),
        )
    classifier.fit(x, labels)
    return float(classifier.score(x, labels))


def _score(
    classifier: Pipeline, config: DictConfig, datamodule: EmotionDataModule, subset: str
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Predictions of a subset, one row per frame, and their scores and loss."""
    x, labels, index = _extract(config, datamodule, subset)
    probabilities = classifier.predict_proba(x)
    table = predictions_table(datamodule.manifest.loc[index], probabilities, datamodule.class_names)
    loss = log_loss(labels, probabilities, labels=range(len(datamodule.class_names)))
    return table, scores(confusion(table, datamodule.class_names)).means() | {"loss": float(loss)}
