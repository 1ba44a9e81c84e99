"""What is recorded of any run: ``results.json``, its manifest, and the warnings that were given."""

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
from fervid.schema.manifest import SPLITS, emotion_by_split
from fervid.schema.same_system import RunIdentity
from fervid.storage.atomic import write_csv, writing
from fervid.storage.escaping import spreadsheet

if TYPE_CHECKING:
    from fervid.data.frame_datamodule import FrameDataModule

PACKAGES = (
    *("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python", "numpy"),
    *("scikit-learn", "scikit-image", "hydra-core"),
)


def describe_data(datamodule: "FrameDataModule", frames: pd.DataFrame) -> dict[str, Any]:
    """Which corpora frames are from, and how many frames, clips, subjects and useless files there are."""
    return {
        "corpus": datamodule.corpus,
        "corpora": datamodule.corpora,
        "rendered": datamodule.rendered,
        "frames": len(frames),
        "clips": int(keys(frames, "clip").nunique()),
        "subjects": int(keys(frames, "subject").nunique()),
        "unreadable": datamodule.failed_files,
        "image_size": datamodule.image_size,
    }


def describe(config: DictConfig, datamodule: "FrameDataModule", warnings: list[str]) -> dict[str, Any]:
    """What may be asked of any run but its scores, as plain containers: data, leaks, versions, settings.

    Args:
        config: of the run.
        datamodule: with its split.
        warnings: what was said against the run.
    """
    manifest = datamodule.manifest
    settings = plain_settings(config)
    identity = RunIdentity.of(settings, datamodule.fingerprint)
    return {
        "data": {
            **describe_data(datamodule, manifest),
            "fingerprint": identity.fingerprint,
            "places": identity.places,
            "split": {side: int((manifest["split"] == side).sum()) for side in SPLITS},
            "emotion_by_split": emotion_by_split(manifest).to_dict("index"),
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
    """The settings of a configuration as plain containers, without the entries ``choices`` and ``overrides``."""
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items() if name not in ("choices", "overrides")}


class WarningCollector(logging.Handler):
    """Collects every warning that fervid gives while it is entered; the logger is as before afterwards.

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


def write_manifest(folder: Path, datamodule: "FrameDataModule") -> None:
    """Writes which frames a run sees, and the files that failed or were left out."""
    with writing(folder / "manifest.parquet") as partial:
        datamodule.manifest.to_parquet(partial)
    if len(datamodule.failures):
        write_csv(folder / "failures.csv", spreadsheet(datamodule.failures))
