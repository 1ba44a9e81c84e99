"""Trains and records the classical baseline: ``python -m fervid.baseline dataset=ised dataset.root=...``.

Local Gabor binary patterns, PCA and LDA, on the faces and splits that ``fervid.train`` sees; it leaves a run folder
that ``fervid.report`` lays beside those of networks.

All that can be set: ``python -m fervid.baseline --help``.
"""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.folders import alone
from fervid.cli.job import job
from fervid.schema.atomic import write_csv
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from fervid.data.datamodule import FrameDataModule

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="baseline")
def command(config: DictConfig) -> float:
    """Fits the baseline on the training side and records what it says of the others.

    Returns:
        The validation UAR.
    """
    with job(config) as running, alone(running.folder):
        return baseline(config, running.folder, resume=running.is_sweep)


def baseline(config: DictConfig, folder: Path, *, resume: bool = False) -> float:
    """The run, top to bottom.

    Args:
        config: of the command ``baseline``; :func:`fervid.cli.compose` gives one.
        folder: where everything that it leaves lies.
        resume: whether the same run may have been finished there before, which is then not run again.

    Returns:
        The validation UAR.

    Raises:
        InputError: if something in the configuration or the corpus stands against it.
    """
    from fervid.runs.finished import finished_score  # pandas and all that: seconds that --help should not wait for
    from fervid.runs.record import WarningCollector
    from fervid.schema.settings import fingerprint

    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with WarningCollector() as collected:
        finished = finished_score(folder, config, lambda: fingerprint(_read_corpus(config).manifest), resume=resume)
        return _fit_and_record(config, folder, collected.sentences) if finished is None else finished


def _read_corpus(config: DictConfig) -> "FrameDataModule":
    from hydra.utils import instantiate

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


def _fit_and_record(config: DictConfig, folder: Path, warnings: list[str]) -> float:
    from rich.console import Console
    from sklearn.metrics import log_loss

    from fervid.baseline.lgbp import check_settings, lgbp_features, make_classifier
    from fervid.callbacks import Predictions
    from fervid.metrics.aggregation import confusion
    from fervid.metrics.scores import scores
    from fervid.runs.drawing import draw_predictions
    from fervid.runs.printing import print_split, print_summary
    from fervid.runs.record import describe, write_json, write_manifest

    began = time.perf_counter()
    features = {str(name): int(value) for name, value in config.features.items()}
    check_settings(**features)
    classifier = make_classifier(config.pca, config.seed)
    datamodule = _read_corpus(config)
    write_manifest(folder, datamodule)
    console = Console()
    print_split(console, datamodule)
    seconds = {"prepare": time.perf_counter() - began}

    def look_at(side: str) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Features, labels and manifest rows of one side."""
        frames = datamodule.frame_dataset(side)
        described = f"LGBP features of {len(frames)} {side} faces"
        x = lgbp_features(frames.store[frames.rows], **features, description=described)
        return x, frames.labels.numpy(), frames.index.numpy()

    began = time.perf_counter()
    x, labels, _ = look_at("train")
    if config.pca > min(x.shape):
        raise InputError(f"pca={config.pca} is more than {len(x)} training faces have: give {min(x.shape)} at most.")
    if config.pca < 1 and len(x) > 5000:
        log.info("PCA of %d faces by a share of variance takes long: pca=300, say, is faster.", len(x))
    classifier.fit(x, labels)
    metrics = {"train/accuracy": float(classifier.score(x, labels))}
    seconds["fit"] = time.perf_counter() - began
    del x  # the largest of all

    began = time.perf_counter()
    tables = {}
    for side in ("val", "test"):
        x, labels, index = look_at(side)
        predictions = Predictions()
        predictions.index, predictions.probabilities = index, classifier.predict_proba(x)
        tables[side] = predictions.table(datamodule.manifest, datamodule.class_names)
        loss = log_loss(labels, predictions.probabilities, labels=range(datamodule.num_classes))
        reached = scores(confusion(tables[side], datamodule.class_names)).means() | {"loss": float(loss)}
        metrics |= {f"{side}/{name}": value for name, value in reached.items()}
    seconds["test"] = time.perf_counter() - began

    write_csv(folder / "predictions.csv", tables["test"])
    write_csv(folder / "predictions_val.csv", tables["val"])
    outcome = describe(config, datamodule, tables["test"], warnings)
    outcome["metrics"] |= metrics
    outcome["choices"]["backbone"] = "lgbp"  # as tables call it
    outcome |= {"best_score": metrics["val/uar"], "seconds": seconds, "device": "cpu"}
    # Before anything is drawn: no figure can lose what was learned.
    write_json(folder / "results.json", outcome)
    draw_predictions(folder, datamodule, outcome, tables["test"])
    print_summary(console, folder, outcome)
    return metrics["val/uar"]


def main() -> None:
    """The way in, also as ``fervid-baseline``."""
    run(command, "baseline")
