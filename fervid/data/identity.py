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
    centred,
    clustering_errors,
    group_units,
    same_people,
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
        false_match_rate: probability that two different people count as one, which determines the threshold.
        threshold: similarity from which on two subjects are one person. None: from the calibration.
        calibration: ``identity.json`` of an audit of another corpus. None: the corpus itself, which must have at least
            eight known subjects.

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
    def file_name(self) -> str:
        """Name of the file of embeddings; it depends on the network and its weights."""
        settings = [self.weights["sha256"], self.backbone.built_as, self.backbone.image_size]
        mean, std = getattr(self.backbone, "mean", None), getattr(self.backbone, "std", None)
        settings += [mean.flatten().tolist() if mean is not None else None]
        settings += [std.flatten().tolist() if std is not None else None]
        return f"identity-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]}.npy"

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

    def people(self, path: Path, frames: pd.DataFrame) -> People:
        """Groups frames by the person they show.

        Args:
            path: file of the embeddings from :meth:`embed`, one row per frame; the groups are cached beside it.
            frames: N frames of one or several corpora.

        Raises:
            InputError: if there is no threshold: too few subjects are known, and neither a threshold nor a calibration
                was given.
        """
        rows = centred(np.load(path), frames["corpus"].to_numpy())
        subject, clip = (pd.factorize(keys(frames, column))[0] for column in ("subject", "clip"))
        own = calibrate(rows, subject, clip, corpus="+".join(corpora(frames)), weights=self.weights["sha256"])
        calibration = self.calibration or own
        if self.threshold is None and calibration is None:
            raise InputError(
                f"identity needs at least {MIN_SUBJECTS} known subjects to calibrate its threshold, and "
                f"{len(set(subject[subject >= 0]))} are known: give identity.calibration=<identity.json> of an audit "
                "of a corpus with known subjects, or identity.threshold=<similarity>."
            )
        threshold = self.threshold
        if threshold is None:
            assert calibration is not None
            threshold = calibration.threshold(self.false_match_rate)
        if own is not None and own is calibration:
            known = np.flatnonzero(subject >= 0)
            unit = pd.factorize(clip[known])[0]
            first = np.unique(unit, return_index=True)[1]
            found = _groups(sums_of(rows[known], unit), threshold, path, "clips")
            calibration = replace(own, clustering=clustering_errors(subject[known][first], found))
        unit = units_of(frames)
        sums = sums_of(rows, unit)
        return People(
            unit=unit,
            person=_groups(sums, threshold, path, "subjects"),
            means=unit_length(sums),
            threshold=threshold,
            evidence=self._evidence(threshold, calibration),
            calibration=calibration,
            clustered=bool((subject < 0).all()),
        )

    def _evidence(self, threshold: float, calibration: Calibration | None) -> dict[str, Any]:
        measured: dict[str, Any] = {}
        if calibration is not None:
            names = ("corpus", "subjects", "same_pairs", "different_pairs", "auc", "equal_error_rate", "clustering")
            measured = calibration.measured(threshold) | {name: getattr(calibration, name) for name in names}
        return {
            "threshold": threshold,
            "false_match_rate": self.false_match_rate if self.threshold is None else None,
            "measured": measured,
            "weights": self.weights,
            "terms": describe_weights(self.weights),
        }

    def _read(self, path: Path) -> Calibration:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"identity.calibration={path} cannot be read ({first_line(error)}): give the identity.json of an audit."
            ) from error
        found = Calibration.of(content if isinstance(content, dict) else {}, str(path))
        if found.weights != self.weights["sha256"]:
            raise InputError(
                f"identity.calibration={path} was measured with other weights than {self.weights['requested']}: run "
                "the audit of the corpus with known subjects with the same identity.backbone."
            )
        return found


def names_of_people(people: People, path: Path, frames: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Lists the names of each person (:func:`fervid.audit.identity.same_people`).

    Args:
        people: the people found in ``frames``.
        path: file of the embeddings of ``frames``.
        frames: all frames.
        manifest: those that are in a subset, with ``split`` and ``cache_row``.
    """
    rows = manifest["cache_row"].to_numpy()
    embeddings = centred(np.load(path), frames["corpus"].to_numpy())[rows]
    return same_people(replace(people, unit=people.unit[rows]), manifest, embeddings)


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
