"""What a run leaves in its folder besides checkpoints: results.json, tables, figures, and the story on TensorBoard."""

import json
import logging
import platform
import shlex
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tensorboard.compat.proto.summary_pb2 import Summary

from fervid import __version__, figures
from fervid.audit.leakage import Audit, Finding, worst_pairs
from fervid.callbacks import FreezeThenFineTune
from fervid.data.datamodule import FrameDataModule
from fervid.data.store import FaceStore
from fervid.metrics.aggregation import clip_predictions, confusion
from fervid.metrics.scores import scores
from fervid.runs.run import open_run
from fervid.schema.atomic import write_csv, write_text, writing
from fervid.schema.errors import InputError, listed
from fervid.schema.escaping import markdown_text, spreadsheet
from fervid.schema.manifest import SPLITS, emotion_by_split
from fervid.tasks.classification import EmotionClassifier

log = logging.getLogger(__name__)

SAMPLES = 32  # faces among the sample predictions
MAX_ROWS = 40  # emotions listed one by one on the terminal

PACKAGES = (
    *("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python", "numpy"),
    *("scikit-learn", "scikit-image", "hydra-core"),
)


def clip_scores(predictions: pd.DataFrame, class_names: list[str]) -> dict[str, float]:
    """Scores of whole clips: the mean of its frames' probabilities says what a clip is.

    Args:
        predictions: one row a frame with ``clip``, ``true`` and ``p_<emotion>``.
        class_names: the emotions.

    Returns:
        As :meth:`fervid.metrics.scores.Scores.means`.
    """
    return scores(confusion(clip_predictions(predictions, class_names), class_names)).means()


def describe(
    config: DictConfig, datamodule: FrameDataModule, predictions: pd.DataFrame, warnings: list[str]
) -> dict[str, Any]:
    """What may be asked of any run, as plain containers: scores, data, leaks, versions, settings.

    Args:
        config: of the run.
        datamodule: with its split.
        predictions: one row a test frame.
        warnings: what was said against the run.
    """
    manifest, names = datamodule.manifest, datamodule.class_names
    counts = confusion(predictions, names)
    reached = scores(counts)
    clips = clip_scores(predictions, names)
    return {
        "metrics": {f"test/{name}": value for name, value in reached.means().items()}
        | {f"test/clip_{name}": value for name, value in clips.items()},
        "recall": dict(zip(names, _plain(reached.recall), strict=True)),
        "precision": dict(zip(names, _plain(reached.precision), strict=True)),
        "confusion": counts.tolist(),
        "class_names": names,
        "data": {
            "corpus": datamodule.corpus,
            "rendered": datamodule.rendered,
            "frames": len(manifest),
            "clips": int(manifest["clip"].nunique()),
            "subjects": int(manifest["subject"].nunique()),
            "unreadable": datamodule.failed_files,
            "image_size": datamodule.image_size,
            "split": {side: int((manifest["split"] == side).sum()) for side in SPLITS},
            "emotion_by_split": emotion_by_split(manifest).to_dict("index"),
        },
        "leakage": datamodule.audit.as_dict(),
        "seed": config.seed,
        "warnings": warnings,
        "versions": {"fervid": __version__, "python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        "git_revision": git_revision(),
        "choices": choices(),
        "overrides": list(HydraConfig.get().overrides.task),
        "config": OmegaConf.to_container(config, resolve=True),
    }


def collect(
    config: DictConfig,
    trainer: pl.Trainer,
    model: EmotionClassifier,
    datamodule: FrameDataModule,
    finetune: FreezeThenFineTune,
    predictions: pd.DataFrame,
    warnings: list[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """As :func:`describe`, with what is known of a network and its training."""
    described = describe(config, datamodule, predictions, warnings)
    best = next((row for row in finetune.history if row["epoch"] == finetune.best["epoch"]), {})
    kept = {name: value for name, value in best.items() if name.startswith(("train/", "val/"))}
    phases = pd.DataFrame(finetune.history).groupby("phase", sort=False)["seconds"]
    device = trainer.strategy.root_device
    return described | {
        "metrics": kept | described["metrics"] | {"test/loss": model.scores["test"]["test/loss"]},
        "best_epoch": finetune.best["epoch"] + 1,
        "best_score": finetune.best["score"],
        "epochs": len(finetune.history),
        "seconds": {**seconds, "by_phase": phases.sum().to_dict(), "by_epoch": phases.median().to_dict()},
        "parameters": {
            "total": sum(parameter.numel() for parameter in model.parameters()),
            "trainable": {phase.name: _learning(model, phase.first_stage) for phase in finetune.phases},
        },
        "weights": model.backbone.weights.as_dict(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "trainer_precision": str(trainer.precision),
        "history": finetune.history,
    }


def finished_before(folder: Path, config: DictConfig) -> float | None:
    """The score of a sweep's job that was finished before, which need not be run again.

    Args:
        folder: of the run.
        config: what it is told now.

    Returns:
        Its ``best_score``; None if there is no finished run.

    Raises:
        InputError: if a finished run would be written over.
    """
    path = folder / "results.json"
    going_on = config.get("ckpt_path") is not None
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if not path.exists() or (going_on and not sweep):
        return None
    if not sweep:
        raise InputError(f"{folder} already holds a finished run: choose another hydra.run.dir, or remove it.")
    try:
        before = open_run(folder).results
    except InputError as error:
        raise InputError(
            f"{folder} cannot be opened again, {error}: choose another hydra.sweep.dir, or remove it."
        ) from error
    if what_matters(before["config"]) != what_matters(config):
        raise InputError(
            f"{folder} already holds a finished run of other settings: choose another hydra.sweep.dir, or remove it."
        )
    log.info("job %s was finished before: it is not run again.", HydraConfig.get().job.num)
    return before["best_score"]


def what_matters(config: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """A configuration as plain containers without what changes no result: where things lie, what a paper prints.

    Args:
        config: Hydra's, or the plain one of a ``results.json``, in which nothing is resolved.
    """
    told = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else config
    kept = json.loads(json.dumps(told, default=str))
    for name in ("ckpt_path", "cache_dir", "logger", "paper"):
        kept[name] = None
    for name in ("prepared_dir", "num_workers"):
        kept.setdefault("dataset", {})[name] = None
    return kept


class Listener(logging.Handler):
    """Keeps every warning that fervid gives, for results.json and the end of the run."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


def listen() -> Listener:
    """Begins to keep the warnings of a run, and ends with those of the sweep's job before."""
    fervid = logging.getLogger("fervid")
    for handler in fervid.handlers[:]:
        fervid.removeHandler(handler)
    listener = Listener()
    fervid.addHandler(listener)
    return listener


def choices() -> dict[str, str | None]:
    """The option chosen in each group of the configuration."""
    chosen = HydraConfig.get().runtime.choices
    return {str(group): option for group, option in chosen.items() if not str(group).startswith("hydra")}


def _learning(model: EmotionClassifier, first_stage: str) -> int:
    parameters = model.learning_parameters(model.backbone.stage_number(first_stage))
    return sum(parameter.numel() for parameter in parameters)


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


@cache  # of what was loaded when the process began, whatever happens to the files while a sweep runs
def git_revision() -> str | None:
    """Revision of the checkout fervid runs from, ``+changes`` behind it if files differ; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed fervid may lie inside somebody else's checkout, which says nothing about it.
        if git("ls-files", "--error-unmatch", Path(__file__).name):
            return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    return None


def write_manifest(folder: Path, datamodule: FrameDataModule) -> None:
    """Writes which frames a run sees, and the files that failed or were left out."""
    with writing(folder / "manifest.parquet") as partial:
        datamodule.manifest.to_parquet(partial)
    if len(datamodule.failures):
        write_csv(folder / "failures.csv", spreadsheet(datamodule.failures))


def write_json(path: Path, content: Any) -> None:
    """Writes JSON; numbers that are none (NaN) become null."""
    content = json.loads(json.dumps(content, default=str), parse_constant=lambda name: None)
    write_text(path, json.dumps(content, indent=1) + "\n")


def draw(
    folder: Path,
    trainer: pl.Trainer,
    datamodule: FrameDataModule,
    finetune: FreezeThenFineTune,
    results: dict[str, Any],
    predictions: pd.DataFrame,
) -> None:
    """Draws the figures of a run, as PNG and on TensorBoard.

    Args:
        folder: the run folder.
        trainer: whose loggers take them.
        datamodule: for the faces.
        finetune: for the history.
        results: of :func:`collect`.
        predictions: one row a test frame.
    """
    curves = figures.curves(finetune.history, finetune.best["epoch"])
    drawn = {"curves": figures.save(curves, folder / "curves.png")}
    drawn |= draw_predictions(folder, datamodule, results, predictions)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            # TensorBoard sorts by name: "view" comes after "train" and "val".
            shown = [_as_event(f"view/{name}", path) for name, path in drawn.items()]
            logger.experiment._get_file_writer().add_summary(Summary(value=shown), results["epochs"] - 1)


def _as_event(tag: str, png: Path) -> Summary.Value:
    """A PNG file as TensorBoard keeps it; its ``add_image`` would pack the picture a second time."""
    with Image.open(png, formats=["PNG"]) as picture:
        width, height = picture.size
    packed = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png.read_bytes())
    return Summary.Value(tag=tag, image=packed)


def draw_predictions(
    folder: Path, datamodule: FrameDataModule, results: dict[str, Any], predictions: pd.DataFrame
) -> dict[str, Path]:
    """Draws the figures that need no network, as PNG: confusion matrix, sample predictions, leaks.

    Args:
        folder: the run folder.
        datamodule: for the faces.
        results: of :func:`describe`.
        predictions: one row a test frame.

    Returns:
        The files by their names without ``.png``.
    """
    names, metrics = results["class_names"], results["metrics"]
    # The same number of each emotion, drawn by chance: neither the best nor the worst.
    chosen = (
        predictions.sample(frac=1, random_state=0)
        .groupby("true")
        .head(max(1, SAMPLES // len(names)))
        .head(SAMPLES)
        .sort_values("true")
    )
    rows = datamodule.manifest.loc[chosen["index"], "store_row"].to_numpy()
    title = f"test, {results['leakage']['level']}: UAR {metrics['test/uar']:.1%}, WAR {metrics['test/accuracy']:.1%}"
    drawn: dict[str, Figure] = {
        "confusion_matrix": figures.confusion_matrix(np.array(results["confusion"]), names, title),
        "sample_predictions": figures.sample_predictions(
            FaceStore(datamodule.store_path)[rows],
            chosen["true"].tolist(),
            chosen["predicted"].tolist(),
            chosen[[f"p_{name}" for name in names]].max(axis=1).tolist(),
        ),
    }
    leaks = draw_leaks(datamodule)
    if leaks:
        drawn["leaks"] = leaks
    return {name: figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()}


def draw_leaks(datamodule: FrameDataModule) -> Figure | None:
    """Draws the worst pairs of faces that stand on two sides of the split; None if none do."""
    manifest, audit = datamodule.manifest, datamodule.audit
    pairs = worst_pairs(manifest, audit)
    if not pairs:
        return None
    store = FaceStore(datamodule.store_path)
    left, right = (manifest.iloc[list(rows)] for rows in list(zip(*pairs, strict=True))[:2])
    return figures.pairs(
        store[left["store_row"].to_numpy()],
        store[right["store_row"].to_numpy()],
        [_who(frame) for _, frame in left.iterrows()],
        [_who(frame) for _, frame in right.iterrows()],
        [words for *_, words in pairs],
        f"what stands on two sides ({audit.level})",
    )


def _who(frame: pd.Series) -> str:
    who = "" if pd.isna(frame["subject"]) else f"{frame['subject']}, "
    return f"{frame['split']}: {who}{frame['emotion']}\n{frame['clip']}\nframe {frame['frame']}"


def log_hparams(trainer: pl.Trainer, choices: dict[str, Any], results: dict[str, Any]) -> None:
    """One row on TensorBoard's HPARAMS page, and the warnings as text."""
    wanted = ("val/uar", "test/uar", "test/clip_uar")  # more do not fit on the first screen
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            # Names of their own, sorted behind the curves: Lightning logs them as scalars at step 0 too.
            logger.log_hyperparams(
                choices, {f"weights_kept/{name.replace('/', '_')}": results["metrics"][name] for name in wanted}
            )
            layout = {score: ["Multiline", [f"train/{score}", f"val/{score}"]] for score in ("uar", "accuracy", "loss")}
            logger.experiment.add_custom_scalars({"training and validation": layout})
            for number, warning in enumerate(results["warnings"]):
                logger.experiment.add_text("warnings", markdown_text(warning), number)
            Path(logger.log_dir, "hparams.yaml").unlink(missing_ok=True)  # written empty when training began
            logger.save()


def print_split(console: Console, datamodule: FrameDataModule) -> None:
    """The split, as a table of emotion x side."""
    counts = emotion_by_split(datamodule.manifest)
    people = datamodule.manifest.groupby("split")["subject"].nunique()
    table = Table(title=f"frames by emotion and split ({datamodule.audit.level})")
    table.add_column("emotion")
    for side in SPLITS:
        table.add_column(side, justify="right")
    emotions, rest = counts.iloc[:-1].head(MAX_ROWS), counts.iloc[MAX_ROWS:-1]
    rows = {str(emotion): row for emotion, row in emotions.iterrows()}
    if len(rest):
        rows[f"{len(rest)} more"] = rest.sum()
    for name, row in rows.items():
        table.add_row(escape(name), *(str(row[side]) for side in SPLITS))
    table.add_section()
    table.add_row("total", *(str(counts[side].iloc[-1]) for side in SPLITS))
    if people.sum():
        table.add_row("people", *(str(people.get(side, 0)) for side in SPLITS))
    console.print(table)


def print_audit(console: Console, audit: Audit) -> None:
    """What stands on two sides of a split, by kind, with examples."""
    table = Table(title=f"what stands on two sides ({audit.level})")
    table.add_column("")
    table.add_column("on two sides", justify="right")
    table.add_column("of", justify="right")
    table.add_column("for example")
    unknown = Finding(0, 0, [])
    kinds = {
        "people": audit.subjects if audit.people_known else unknown,
        "clips": audit.clips if audit.clips_known else unknown,
        "twins of a recording": audit.twins,
        "pairs that differ in repetition": audit.repetitions,
        "pairs that differ in statement": audit.statements,
        "pairs that look the same": audit.near_duplicates,
    }
    for name, found in kinds.items():
        if found is unknown:
            table.add_row(name, "unknown", "", "")
        elif found is not None:
            example = next(iter(found.examples), {})
            names = [
                str(example[key]) for key in ("subject", "clip", "recording", "clip_a", "clip_b") if example.get(key)
            ]
            table.add_row(name, str(found.count), str(found.total), escape(", ".join(names)))
    if audit.strangers:
        table.add_row("  of different or unknown people", str(audit.strangers), "", "")
    console.print(table)


def print_summary(console: Console, folder: Path, results: dict[str, Any]) -> None:
    """What was reached and where everything lies."""
    metrics = results["metrics"]
    chance = 1 / len(results["class_names"])
    table = Table(title=f"what was reached ({results['leakage']['level']})")
    for column in ("", "UAR", "WAR (accuracy)", "macro F1", "loss"):
        table.add_column(column, justify="right" if column else "left")
    epochs = f", epoch {results['best_epoch']} of {results['epochs']}" if "epochs" in results else ""
    rows = [(f"validation{epochs}", "val/"), ("test, frames", "test/")]
    if results["data"]["clips"] < results["data"]["frames"]:
        rows.append(("test, whole clips", "test/clip_"))
    for name, prefix in rows:
        loss = metrics.get(f"{prefix}loss")
        table.add_row(
            name,
            *(f"{metrics[prefix + metric]:.1%}" for metric in ("uar", "accuracy", "f1")),
            "" if loss is None else f"{loss:.3f}",
        )
    table.add_row("chance", f"{chance:.1%}", "", "", "", style="dim")
    console.print(table)
    for measure in ("recall", "precision"):
        by_class = listed(
            [f"{name} {'-' if value is None else f'{value:.0%}'}" for name, value in results[measure].items()], MAX_ROWS
        )
        console.print(f"test {measure}: {by_class}", highlight=False, markup=False)
    by_epoch = [f"{phase} {value:.1f} s" for phase, value in results["seconds"].get("by_epoch", {}).items()]
    epochs = f" ({', '.join(by_epoch)} an epoch)" if by_epoch else ""
    console.print(f"trained in {results['seconds']['fit']:.0f} s{epochs}", highlight=False, markup=False)
    for warning in results["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    console.print(f"everything lies in {folder}", highlight=False, soft_wrap=True, markup=False)
    if (folder / "tensorboard").exists():
        command = shlex.join(["tensorboard", "--logdir", str(folder)])
        console.print(f"look at it: {command}", highlight=False, soft_wrap=True, markup=False)
