"""Finds the people of another corpus that look like someone whom a run was trained on, by face embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid import figures
from fervid.audit.identity import BLOCK_ROWS, MAX_PICTURES, MIN_SUBJECTS, sums_of, unit_length, units_of
from fervid.data.datamodule import EmotionDataModule
from fervid.data.identity import FaceIdentity
from fervid.report.writing import Section
from fervid.runs.drawing import caption
from fervid.schema.columns import keys
from fervid.schema.people import describe_people, describe_seen_people
from fervid.schema.tables import Table

DRAWN = 12  # pairs of faces in the figure


@dataclass(frozen=True)
class SeenPeople:
    """The subjects of a corpus that look like someone whom a run was trained or validated on.

    Attributes:
        units: number of the subject of each frame, or of its clip if its subject is unknown; the index is that of the
            frames.
        kind: ``subjects``, or ``clips`` if all subjects are unknown, or ``subjects and clips``.
        pairs: one row for each subject that was seen, most similar first: ``unit``, ``evaluated`` and ``training`` (the
            names of both), and ``similarity``.
        chance: probability that a subject whom the run has not seen resembles someone in the training data as much;
            None if it is unknown, because the threshold was given.
        identity: threshold, error rates and weights of the comparison.
        figure: the most similar faces of the first pairs; None if nobody was seen.
    """

    units: pd.Series
    kind: str
    pairs: pd.DataFrame
    chance: float | None
    identity: dict[str, Any]
    figure: Figure | None

    @property
    def is_seen(self) -> pd.Series:
        """Whether each frame shows someone who was seen in training."""
        return self.units.isin(self.pairs["unit"])

    def as_dict(self, frames: pd.Index) -> dict[str, Any]:
        """Returns the entry ``leakage.seen_people`` of ``results.json``.

        Args:
            frames: index of the frames that are scored.
        """
        units = self.units.loc[frames]
        pairs, total = self.pairs[self.pairs["unit"].isin(units)], units.nunique()
        return {
            "kind": self.kind,
            "count": len(pairs),
            "total": total,
            "expected_by_chance": None if self.chance is None else total * self.chance,
            "examples": pairs.drop(columns="unit").head(DRAWN).to_dict("records"),
        }


def find_seen_people(
    own: EmotionDataModule, other: EmotionDataModule, frames: pd.DataFrame, identity: FaceIdentity
) -> SeenPeople:
    """Compares the mean embedding of each subject of a corpus with those of a run's training and validation subsets.

    A subject was seen if the similarity to any subject of these subsets reaches the threshold. The threshold is
    calibrated on the corpus of the run or, if too few of its subjects are known, on the other corpus, never on both:
    people in both would count as different people who look alike.

    Args:
        own: the corpus of the run with its split, from :func:`fervid.runs.load.reopen_corpus`.
        other: the other corpus, prepared.
        frames: frames of the other corpus: rows of ``other.rows`` with their ``cache_row``.
        identity: the face network and its threshold.

    Raises:
        InputError: see :meth:`fervid.data.identity.FaceIdentity.calibrated`.
    """
    trained = own.manifest[own.manifest["split"] != "test"]
    if own.subjects_clustered:  # clusters are no labels: neither a calibration nor a comparison may depend on them
        trained = trained.assign(subject=None)
    rows, trained_rows = (
        module.embeddings(identity)[each["cache_row"].to_numpy()] for module, each in ((other, frames), (own, trained))
    )
    only_other = keys(frames, "subject").nunique() >= MIN_SUBJECTS > keys(trained, "subject").nunique()
    threshold, calibration = (
        identity.calibrated(rows, frames) if only_other else identity.calibrated(trained_rows, trained)
    )
    evidence = identity.evidence(threshold, calibration)
    evidence["measured"].pop("clustering", None)  # nothing is clustered here

    units, trained_units = units_of(frames), units_of(trained)
    pairs = _closest(unit_length(sums_of(rows, units)), unit_length(sums_of(trained_rows, trained_units)), threshold)
    frame, trained_frame = np.empty(len(pairs), dtype=int), np.empty(len(pairs), dtype=int)
    for number, (unit, trained_unit) in enumerate(zip(pairs["unit"], pairs["trained_unit"], strict=True)):
        one, two = (np.flatnonzero(found)[:: -(-int(found.sum()) // MAX_PICTURES)]
                    for found in (units == unit, trained_units == trained_unit))  # fmt: skip
        alike = rows[one] @ trained_rows[two].T
        a, b = np.unravel_index(alike.argmax(), alike.shape)
        frame[number], trained_frame[number] = one[a], two[b]
    names, trained_names = (
        keys(each, "subject").fillna(keys(each, "clip")).to_numpy()[chosen]
        for each, chosen in ((frames, frame), (trained, trained_frame))
    )
    known = frames["subject"].notna()
    rate = evidence["false_match_rate"]
    return SeenPeople(
        units=pd.Series(units, index=frames.index),
        kind="subjects" if known.all() else "subjects and clips" if known.any() else "clips",
        pairs=pairs[["unit"]].assign(evaluated=names, training=trained_names, similarity=pairs["similarity"]),
        chance=None if rate is None else float(1 - (1 - rate) ** (trained_units.max() + 1)),
        identity=evidence,
        figure=_draw(own, other, trained.iloc[trained_frame[:DRAWN]], frames.iloc[frame[:DRAWN]], pairs["similarity"]),
    )


def _closest(means: np.ndarray, trained_means: np.ndarray, threshold: float) -> pd.DataFrame:
    """Returns ``unit``, ``trained_unit`` and ``similarity`` of the units whose closest trained unit is close enough."""
    found = []
    for start in range(0, len(means), BLOCK_ROWS):
        alike = means[start : start + BLOCK_ROWS] @ trained_means.T
        best = alike.argmax(axis=1)
        similarity = alike[np.arange(len(alike)), best]
        unit = start + np.arange(len(alike))
        found.append(pd.DataFrame({"unit": unit, "trained_unit": best, "similarity": similarity.astype(float)}))
    table = pd.concat(found)
    reached = table[table["similarity"] >= threshold]
    return reached.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def _draw(
    own: EmotionDataModule,
    other: EmotionDataModule,
    trained: pd.DataFrame,
    frames: pd.DataFrame,
    similarities: pd.Series,
) -> Figure | None:
    if not len(frames):
        return None
    return figures.pairs(
        own.face_cache[trained["cache_row"].to_numpy()],
        other.face_cache[frames["cache_row"].to_numpy()],
        [caption(frame) for _, frame in trained.iterrows()],
        [caption(frame) for _, frame in frames.iterrows()],
        [f"similarity {alike:.2f}" for alike in similarities[: len(frames)]],
        "Perhaps seen in training, by face embeddings",
        columns=3,
    )


def seen_people_section(found: Mapping[str, SeenPeople]) -> Section:
    """Builds the section on people seen in training; ``found`` has the names of the members as keys."""
    sentences, tables, drawn = [], [], {}
    for number, (name, seen) in enumerate(found.items(), start=1):
        ending = f"_{number}" if len(found) > 1 else ""
        sentences.append(f"{name}: {describe_seen_people(seen.as_dict(seen.units.index))}")
        if len(seen.pairs):
            title = f"People perhaps seen in training of {name}"
            columns = seen.pairs.drop(columns="unit")
            tables.append(Table(f"seen_people{ending}", title, columns, {"similarity": "{:.3f}"}))
        if seen.figure is not None:
            drawn[f"seen_people{ending}"] = seen.figure
    evidence = [text for seen in found.values() for text in describe_people({"identity": seen.identity})]
    return Section("People seen in training", tables, drawn, [*sentences, *dict.fromkeys(evidence)], terminal=True)
