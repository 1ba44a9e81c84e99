"""Runs the classical baseline."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from sklearn.metrics import log_loss

from fervid.baseline.recognisers import Classifier, Labelled, Recogniser, make_recogniser
from fervid.cli.folders import alone
from fervid.data.datamodule import EmotionDataModule
from fervid.metrics.aggregation import confusion, measure
from fervid.metrics.scores import scores
from fervid.runs.build import make_sample
from fervid.runs.drawing import draw_predictions
from fervid.runs.finished import finished_score
from fervid.runs.people import print_people
from fervid.runs.printing import print_split, print_summary
from fervid.runs.record import WarningCollector, describe, write_manifest
from fervid.schema.predictions import predictions_table, write_predictions
from fervid.schema.results import write_results


def baseline(config: DictConfig, folder: str | Path, *, resume: bool = False) -> float:
    """Fits the baseline on the training subset, scores the validation and test subsets, and records the run.

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
    recogniser = make_recogniser(config)
    datamodule = _read_corpus(config)
    write_manifest(folder, datamodule)
    console = Console()
    print_split(console, datamodule)
    if datamodule.people is not None:
        print_people(console, datamodule)
    prepared = time.perf_counter()

    train, val = (_extract(recogniser, datamodule, subset) for subset in ("train", "val"))
    classifier = recogniser.fit(train, val)
    metrics = {"train/accuracy": float((classifier.predict_proba(train[0]).argmax(axis=1) == train[1]).mean())}
    fitted = time.perf_counter()

    tables = {}
    for subset in ("val", "test"):
        labelled = val if subset == "val" else _extract(recogniser, datamodule, subset)
        tables[subset], subset_scores = _score(classifier, datamodule, subset, labelled)
        metrics |= {f"{subset}/{name}": value for name, value in subset_scores.items()}
    seconds = {"prepare": prepared - began, "fit": fitted - prepared, "test": time.perf_counter() - fitted}

    results = {**describe(config, datamodule, warnings), **measure(tables["test"], datamodule.class_names)}
    results["metrics"] |= metrics
    results["choices"]["backbone"] = recogniser.name  # name in report tables
    results |= {"best_score": metrics["val/uar"], "seconds": seconds, "device": "cpu"}
    write_predictions(folder, tables["test"], tables["val"])
    # Written before figures are drawn, so that an error there does not lose the results.
    write_results(folder, results)
    draw_predictions(folder, datamodule, results, tables["test"])
    print_summary(console, folder, results)
    return metrics["val/uar"]


def _read_corpus(config: DictConfig) -> EmotionDataModule:
    datamodule = instantiate(
        config.dataset,
        **make_recogniser(config).data,
        sample=make_sample(config),
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


def _extract(recogniser: Recogniser, datamodule: EmotionDataModule, subset: str) -> Labelled:
    """Features (N, F) and labels (N,) of a subset."""
    return recogniser.extract(datamodule, subset), datamodule.target.values(datamodule.samples_of(subset))


def _score(
    classifier: Classifier, datamodule: EmotionDataModule, subset: str, labelled: Labelled
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Predictions of a subset, one row per sample, and their scores and loss."""
    x, labels = labelled
    probabilities = classifier.predict_proba(x)
    table = predictions_table(datamodule.samples_of(subset), probabilities, datamodule.class_names)
    loss = log_loss(labels, probabilities, labels=range(len(datamodule.class_names)))
    return table, scores(confusion(table, datamodule.class_names)).means() | {"loss": float(loss)}
