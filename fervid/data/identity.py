"""Embeds faces with a network trained to recognise people, and finds which frames show the same person."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from rich import get_console
from rich.progress import track
from torch import Tensor

from fervid.audit.identity import (
    MIN_SUBJECTS,
    Calibration,
    People,
    calibrate,
    clustering_errors,
    group_units,
    sums_of,
    unit_length,
    units_of,
)
from fervid.data.face_cache import resize
from fervid.errors import InputError, first_line
from fervid.schema.columns import corpora, keys
from fervid.schema.weights import describe_weights
from fervid.storage.array_files import allocate
from fervid.storage.atomic import writing

log = logging.getLogger(__name__)

BATCH_SIZE = 32  # pictures, each with its mirror image


class Network(Protocol):
    """What :class:`FaceIdentity` needs of a :class:`fervid.models.backbone.Backbone`."""

    image_size: int
    weights: Any
    built_as: str

    def __call__(self, x: Tensor) -> Tensor: ...
    def eval(self) -> "Network": ...
    def to(self, device: torch.device) -> "Network": ...


class FaceIdentity:
    """Finds frames of the same person by the embeddings of a face network.

    An embedding is the mean over positions of the last stage's output, of a picture and of its mirror image. Subjects
    are compared by the cosine of their mean embeddings after subtracting the mean of their corpus.

    Args:
        backbone: network with face weights.
        false_match_rate: probability that the mean embeddings of two different subjects count as one person, which
            determines the threshold.
        threshold: similarity at or above which two subjects count as one person. None: from the calibration.
        calibration: ``identity.json`` of an audit of another corpus, required for a corpus without subjects. None: the
            corpus itself, which must have at least eight known subjects.

    Raises:
        InputError: if the weights are random, or a setting is out of range or cannot be read.
    """

    def __init__(
        self,
        backbone: Network,
        *,
        false_match_rate: float = 1e-4,
        threshold: float | None = None,
        calibration: str | Path | None = None,
    ):
        if not 0 < false_match_rate < 0.5:
            raise InputError(f"identity.false_match_rate={false_match_rate} is out of range: use above 0 to below 0.5.")
        if threshold is not None and not -1 <= threshold <= 1:
            raise InputError(f"identity.threshold={threshold} is out of range: use -1 to 1.")
        if backbone.weights.source == "random":
            raise InputError(
                "identity needs face weights, but identity.backbone.weights is null: give a file with "
                "identity.backbone.weights=<file>."
            )
        self.backbone, self.false_match_rate, self.threshold = backbone.eval(), false_match_rate, threshold
        self.weights: dict[str, Any] = backbone.weights.as_dict()
        self.calibration = None if calibration is None else self._read(Path(calibration).expanduser())

    @property
    def network(self) -> dict[str, Any]:
        """Everything that determines the embedding of a picture, as plain containers."""
        mean, std = (getattr(self.backbone, name, None) for name in ("mean", "std"))
        return {
            "weights": self.weights["sha256"],
            "options": self.backbone.built_as,
            "image_size": self.backbone.image_size,
            "mean": None if mean is None else mean.flatten().tolist(),
            "std": None if std is None else std.flatten().tolist(),
            "last_stage": (getattr(self.backbone, "stages", None) or [None])[-1],
        }

    @property
    def file_name(self) -> str:
        """Name of the file of embeddings; it depends on the network and its weights."""
        return f"identity-{hashlib.sha256(json.dumps(self.network).encode()).hexdigest()[:16]}.npy"

    @torch.inference_mode()
    def embed(self, path: Path, count: int, read: Callable[[int], np.ndarray], description: str) -> None:
        """Writes the embeddings of pictures, float32 (N, D), atomically.

        Args:
            path: path of the ``.npy`` file.
            count: number of pictures N.
            read: returns picture i as uint8 (side, side, 3) RGB of any size.
            description: label of the progress bar.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, size = self.backbone.to(device), self.backbone.image_size
        starts = range(0, count, BATCH_SIZE)
        hidden = not get_console().is_terminal
        log.info("embedding %d faces to find the same people; the embeddings are cached.", count)
        with writing(path) as unfinished:
            array: np.ndarray | None = None
            for start in track(starts, description, total=len(starts), transient=True, disable=hidden):
                rows = range(start, min(start + BATCH_SIZE, count))
                faces = np.stack([resize(read(row), size, grayscale=False) for row in rows])
                pictures = torch.from_numpy(faces).to(device).permute(0, 3, 1, 2)
                both = [network(view).float() for view in (pictures, pictures.flip(3))]
                pooled = [(x.mean((2, 3)) if x.dim() == 4 else x).cpu().numpy() for x in both]
                values = unit_length(pooled[0]) + unit_length(pooled[1])
                if array is None:
                    array = allocate(unfinished, np.float32, (count, values.shape[1]))
                array[start : start + len(values)] = values
            if isinstance(array, np.memmap):
                array.flush()
        self.backbone.to(torch.device("cpu"))

    def people(self, rows: np.ndarray, frames: pd.DataFrame, path: Path) -> People:
        """Groups frames by the person they show.

        Args:
            rows: embeddings of the frames from :func:`fervid.audit.identity.centred`, float32 (N, D).
            frames: N frames of one or several corpora.
            path: the groups are cached in files beside this path; their names begin with its stem.

        Raises:
            InputError: see :meth:`calibrated`.
        """
        threshold, calibration = self.calibrated(rows, frames)
        subject, clip = (pd.factorize(keys(frames, column))[0] for column in ("subject", "clip"))
        if calibration is not None and self.calibration is None:
            known = np.flatnonzero(subject >= 0)
            unit = pd.factorize(clip[known])[0]
            first = np.unique(unit, return_index=True)[1]
            found = _groups(sums_of(rows[known], unit), threshold, path, "clips")
            errors = clustering_errors(subject[known][first], found)
            calibration = replace(calibration, clustering={**errors, "threshold": threshold})
        unit = units_of(frames)
        sums = sums_of(rows, unit)
        return People(
            unit=unit,
            person=_groups(sums, threshold, path, "subjects"),
            means=unit_length(sums),
            threshold=threshold,
            evidence=self.evidence(threshold, calibration),
            calibration=calibration,
            clustered=bool((subject < 0).all()),
        )

    def calibrated(self, rows: np.ndarray, frames: pd.DataFrame) -> tuple[float, Calibration | None]:
        """Returns the threshold, and the calibration that it comes from or, if it was given, that measures its errors.

        Args:
            rows: centred embeddings of the frames, float32 (N, D).
            frames: N frames, whose subjects serve for calibration unless one was given.

        Raises:
            InputError: if there is no threshold, because too few subjects are known and neither a threshold nor a
                calibration was given, if no subject is known and there is no calibration, or if no two subjects can
                reach the threshold.
        """
        subject, clip = (pd.factorize(keys(frames, column))[0] for column in ("subject", "clip"))
        calibration = self.calibration
        if calibration is None:
            calibration = calibrate(rows, subject, clip, corpus="+".join(corpora(frames)), network=self.network)
        if self.threshold is not None:
            if calibration is None and (subject < 0).all():
                raise InputError(
                    f"identity.threshold={self.threshold} has no measured errors, because no subject of this corpus is "
                    "known: give identity.calibration=<identity.json> of an audit of a corpus with known subjects."
                )
            return self.threshold, calibration
        if calibration is None:
            raise InputError(
                f"identity needs at least {MIN_SUBJECTS} known subjects to calibrate its threshold, and "
                f"{len(set(subject[subject >= 0]))} are known: give identity.calibration=<identity.json> of an audit "
                "of a corpus with known subjects, or identity.threshold=<similarity>."
            )
        threshold = calibration.threshold(self.false_match_rate)
        if threshold > 1:
            raise InputError(
                f"identity.false_match_rate={self.false_match_rate:g} needs a similarity of {threshold:.3f}, and none "
                "is above 1: give a larger rate."
            )
        return threshold, calibration

    def evidence(self, threshold: float, calibration: Calibration | None) -> dict[str, Any]:
        """Returns threshold, error rates, weights and their terms, as plain containers for results."""
        measured: dict[str, Any] = {}
        if calibration is not None:
            names = ("corpus", "subjects", "same_pairs", "different_pairs", "auc", "equal_error_rate")
            measured = calibration.measured(threshold) | {name: getattr(calibration, name) for name in names}
            measured["clustering"] = calibration.clustering_at(threshold)
        return {
            "threshold": threshold,
            "false_match_rate": self.false_match_rate if self.threshold is None else None,
            "measured": measured,
            "weights": self.weights,
            "terms": [
                sentence.replace("Initial weights", "Face weights").replace("initial weights", "face weights")
                for sentence in describe_weights(self.weights)
            ],
        }

    def _read(self, path: Path) -> Calibration:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"identity.calibration={path} cannot be read ({first_line(error)}): give the identity.json of an audit."
            ) from error
        found = Calibration.of(content if isinstance(content, dict) else {}, str(path))
        for name, value in self.network.items():
            if found.network.get(name) == value:
                continue
            difference = (
                f"other weights than {self.weights['requested']}"
                if name == "weights"
                else f"{name}={found.network.get(name)}, but identity.backbone has {value}"
            )
            raise InputError(
                f"identity.calibration={path} was measured with {difference}: audit the corpus with known subjects "
                "with the same settings of identity.backbone."
            )
        return found


def _groups(sums: np.ndarray, threshold: float, path: Path, what: str) -> np.ndarray:
    """Groups units, or reads the groups that another run has written."""
    digest = hashlib.sha256(sums.tobytes()).hexdigest()[:12]
    cached = path.with_name(f"{path.stem}-{what}-{threshold:.4f}-{digest}.npy")
    if cached.exists():
        return np.load(cached)
    found = group_units(sums, threshold)
    with writing(cached) as unfinished, unfinished.open("wb") as file:
        np.save(file, found)
    return found
