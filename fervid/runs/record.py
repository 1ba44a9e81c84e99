"""Records of every run: the common entries of ``results.json``, the manifest, and the logged warnings."""

import logging
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fervid import __version__
from fervid.schema.columns import keys
from fervid.schema.manifest import SPLITS, corpus_by_split, emotion_by_split
from fervid.schema.same_system import RunIdentity
from fervid.storage.atomic import write_csv, writing
from fervid.storage.escaping import spreadsheet

if TYPE_CHECKING:
    from fervid.data.datamodule import EmotionDataModule

PACKAGES = (
    *("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python", "numpy"),
    *("scikit-learn", "scikit-image", "hydra-core"),
)


def describe_data(datamodule: "EmotionDataModule", frames: pd.DataFrame) -> dict[str, Any]:
    """Returns the corpora of the frames, and the numbers of frames, clips, subjects and unreadable files."""
    return {
        "corpus": datamodule.corpus,
        "corpora": datamodule.corpora,
        "rendered": datamodule.rendered,
        "frames": len(frames),
        "clips": int(keys(frames, "clip").nunique()),
        "subjects": int(keys(frames, "subject").nunique()),
        "unreadable": datamodule.failed_files,
        "image_size": datamodule.image_size,
        "features": datamodule.feature_names,
    }


def describe(config: DictConfig, datamodule: "EmotionDataModule", warnings: list[str]) -> dict[str, Any]:
    """Collects everything that is recorded of a run except its scores: data, leakage, versions and settings.

    Args:
        config: configuration of the run.
        datamodule: the corpus with its split.
        warnings: warnings that were logged during the run.

    Returns:
        The entries as plain containers.
    """
    manifest = datamodule.manifest
    settings = plain_settings(config)
    identity = RunIdentity.of(settings, datamodule.fingerprint)
    return {
        "data": {
            **describe_data(datamodule, manifest),
            "fingerprint": identity.fingerprint,
            "places": identity.places,
            "split": {subset: int((manifest["split"] == subset).sum()) for subset in SPLITS},
            "emotion_by_split": emotion_by_split(manifest).to_dict("index"),
            "corpus_by_split": corpus_by_split(manifest).to_dict("index"),
            "grayscale": datamodule.grayscale,
            **({"label_map": report.to_dict("records")} if (report := datamodule.label_report) is not None else {}),
        },
        "leakage": datamodule.audit.as_dict(),
        "seed": config.seed,
        "warnings": warnings,
        "versions": {"fervid": __version__, "python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        "git_revision": git_revision(),
        "choices": dict(config.get("choices") or {}),
        "overrides": list(config.get("overrides") or []),
        "config": settings,
    }


def plain_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the settings of a configuration as plain containers, without ``choices`` and ``overrides``."""
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items() if name not in ("choices", "overrides")}


class WarningCollector(logging.Handler):
    """Context manager that collects the warnings that fervid logs.

    Attributes:
        sentences: the warnings so far.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())

    def __enter__(self) -> "WarningCollector":
        logging.getLogger("fervid").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("fervid").removeHandler(self)


@cache  # the code was loaded at the start of the process, so later changes to the files do not matter
def git_revision() -> str | None:
    """Returns the git revision of fervid, with the suffix ``+changes`` if files differ; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed fervid may be inside the checkout of another project.
        if git("ls-files", "--error-unmatch", Path(__file__).name):
            return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    return None


def write_manifest(folder: Path, datamodule: "EmotionDataModule") -> None:
    """Writes the manifest of a run, and a list of the files that failed or were left out."""
    with writing(folder / "manifest.parquet") as partial:
        datamodule.manifest.to_parquet(partial)
    if len(datamodule.failures):
        write_csv(folder / "failures.csv", spreadsheet(datamodule.failures))
