"""The same people under several names, and subjects by clustering: comparison of face embeddings, without a network."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import keys

BLOCK_ROWS = 512  # rows compared at once with all others: 70 MiB for 35,000 pictures
MAX_PICTURES = 20  # per subject in a calibration, so that subjects with many pictures do not dominate it
MIN_SUBJECTS = 8  # for a calibration
DECIMALS = 5  # of similarities, so that copies of a picture are equally similar to each other
BINS = 2000  # of the histograms of similarities, which lie between -1 and 1


@dataclass(frozen=True)
class Calibration:
    """Similarity of pictures of the same and of different subjects, measured on a corpus with known subjects.

    The threshold for a false-match rate comes from the highest similarity of each subject to any other subject. A
    Gumbel distribution is fitted to its lower quartile and its median (extreme values of a light-tailed distribution),
    so a minority of subjects with a second name, or mislabelled, raises the threshold only a little. The other
    values are measured on pairs of pictures as labelled.

    Attributes:
        corpus: name of the corpus.
        network: settings of the network that computed the embeddings, and the SHA-256 of its weights.
        subjects: number of subjects.
        pictures: number of pictures compared, at most 20 per subject.
        same_pairs: number of pairs of pictures of one subject in different clips.
        different_pairs: number of pairs of pictures of different subjects.
        auc: probability that a pair of the same subject is more similar than one of different subjects.
        equal_error_rate: error rate where false-match and false-non-match rate are equal.
        location: location of the Gumbel distribution.
        scale: its scale.
        false_match: fraction of pairs of different subjects with at least the similarity 0, 0.01, ..., 1.
        false_non_match: fraction of pairs of the same subject below these similarities; empty without such pairs.
        clustering: errors of clustering these subjects without their names (:func:`clustering_errors`), and the
            ``threshold`` at which they were measured; empty if they were not measured.
    """

    corpus: str
    network: dict[str, Any]
    subjects: int
    pictures: int
    same_pairs: int
    different_pairs: int
    auc: float | None
    equal_error_rate: float | None
    location: float
    scale: float
    false_match: list[float]
    false_non_match: list[float]
    clustering: dict[str, float]

    def threshold(self, false_match_rate: float) -> float:
        """Returns the similarity that the mean embeddings of two subjects reach with the given probability."""
        return float(self.location - self.scale * np.log(false_match_rate * (self.subjects - 1)))

    def measured(self, threshold: float) -> dict[str, float | None]:
        """Returns the ``false_match_rate`` and ``false_non_match_rate`` of pairs of pictures at a threshold."""
        position = int(np.clip(round(100 * threshold), 0, 100))
        non_match = self.false_non_match[position] if self.false_non_match else None
        return {"false_match_rate": self.false_match[position], "false_non_match_rate": non_match}

    def clustering_at(self, threshold: float) -> dict[str, float]:
        """Returns the errors of clustering at a threshold; empty if they were measured at another threshold."""
        measured_at = self.clustering.get("threshold")
        return self.clustering if measured_at is not None and abs(measured_at - threshold) < 1e-6 else {}

    @classmethod
    def of(cls, record: Mapping[str, Any], name: str) -> "Calibration":
        """Reads the entry ``calibration`` of an ``identity.json``.

        Raises:
            InputError: if it is incomplete.
        """
        values = record.get("calibration")
        missing = [each.name for each in fields(cls) if each.name not in (values or {})]
        if missing:
            raise InputError(
                f"identity.calibration={name} has no {missing[0]}: give the identity.json of an audit of a corpus with "
                "known subjects."
            )
        return cls(**{each.name: values[each.name] for each in fields(cls)})  # type: ignore[index]


@dataclass(frozen=True)
class People:
    """Frames grouped by the person they show.

    Attributes:
        unit: number of the subject of each frame, or of its clip if its subject is unknown, shape (N,).
        person: number of the person of each unit, shape (U,).
        means: mean embedding of each unit, float32 (U, D), of length 1.
        threshold: similarity at or above which two units count as one person.
        evidence: threshold, error rates and weights, as plain containers, for results.
        calibration: calibration of the threshold; None if the threshold was given.
        clustered: whether there are no subjects, so that each person is a subject.
    """

    unit: np.ndarray
    person: np.ndarray
    means: np.ndarray
    threshold: float
    evidence: dict[str, Any]
    calibration: Calibration | None
    clustered: bool

    @property
    def names(self) -> pd.Series:
        """A name for the person of each frame: ``person 7``."""
        return pd.Series([f"person {number + 1}" for number in self.person[self.unit]], dtype=object)


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Scales rows to length 1; rows of zeros stay zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def centred(embeddings: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """Subtracts the mean embedding of each corpus and scales to length 1.

    The mean contains what all pictures of a corpus share, such as camera and cropping, which would make all similar.

    Args:
        embeddings: float32 (N, D).
        corpus: corpus of each row, shape (N,).
    """
    rows = unit_length(embeddings).astype(np.float32)
    for name in np.unique(corpus.astype(str)):
        rows[corpus.astype(str) == name] -= rows[corpus.astype(str) == name].mean(axis=0)
    return unit_length(rows).astype(np.float32)


def units_of(manifest: pd.DataFrame) -> np.ndarray:
    """Returns the number of the subject of each frame, or of its clip if its subject is unknown, shape (N,)."""
    subject, clip = keys(manifest, "subject"), keys(manifest, "clip")
    known = subject.notna()
    return pd.factorize(("subject " + subject.astype(str)).where(known, "clip " + clip.astype(str)))[0]


def sums_of(rows: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Returns the sum of the rows of each unit, float32 (U, D)."""
    sums = np.zeros((int(unit.max()) + 1, rows.shape[1]), dtype=np.float32)
    np.add.at(sums, unit, rows)
    return sums


def group_units(sums: np.ndarray, threshold: float) -> np.ndarray:
    """Joins units until the mean embeddings of no two groups are at least as similar as the threshold.

    In each round, all pairs of groups that are each other's nearest are joined. Groups are compared by the cosine of
    their means (centroid linkage). Connected components of all similar pairs would chain look-alikes: with 1,459 names
    of photographs and a threshold of 0.5 they had a group of 353 names of many people.
    Time is quadratic in the number of units; memory grows linearly.

    Args:
        sums: sum of the embeddings of each unit, float32 (U, D).
        threshold: cosine similarity.

    Returns:
        The number of the group of each unit, in order of first appearance, shape (U,).
    """
    sums, count = sums.copy(), len(sums)
    means, alive, group = unit_length(sums), np.ones(count, dtype=bool), np.arange(count)
    nearest, value = np.zeros(count, dtype=np.int64), np.full(count, -2.0, dtype=np.float32)

    def search(rows: np.ndarray) -> None:
        columns = np.flatnonzero(alive)
        for part in np.split(rows, range(BLOCK_ROWS, len(rows), BLOCK_ROWS)):
            alike = (means[part] @ means[columns].T).round(DECIMALS)
            alike[part[:, None] == columns[None]] = -2
            best = alike.argmax(axis=1)
            nearest[part], value[part] = columns[best], alike[np.arange(len(part)), best]

    search(np.arange(count))
    while True:
        first = np.flatnonzero(alive & (value >= threshold) & (np.arange(count) < nearest))
        first = first[alive[nearest[first]] & (nearest[nearest[first]] == first)]
        if len(first):
            second = nearest[first]
        else:  # no two groups are each other's nearest: the best pair of a circle of equal similarities is joined
            best = int(np.where(alive, value, -2).argmax())
            if value[best] < threshold:
                return pd.factorize(group)[0]
            first, second = np.array([min(best, nearest[best])]), np.array([max(best, nearest[best])])
        sums[first] += sums[second]
        means[first] = unit_length(sums[first])
        alive[second], value[second] = False, -2
        joined = np.arange(count)
        joined[second] = first
        group = joined[group]
        changed = np.isin(nearest, np.concatenate([first, second]))
        changed[first] = True
        search(np.flatnonzero(alive & changed))
        _update(nearest, value, means, np.flatnonzero(alive & ~changed), first)


def _update(nearest: np.ndarray, value: np.ndarray, means: np.ndarray, rows: np.ndarray, new: np.ndarray) -> None:
    """Compares rows whose nearest group has not changed with the groups that have."""
    for part in np.split(rows, range(BLOCK_ROWS, len(rows), BLOCK_ROWS)):
        alike = (means[part] @ means[new].T).round(DECIMALS)
        best = alike.argmax(axis=1) if len(part) else np.empty(0, dtype=np.int64)
        closest = alike[np.arange(len(part)), best]
        better = closest > value[part]
        nearest[part[better]], value[part[better]] = new[best[better]], closest[better]


def calibrate(
    rows: np.ndarray, subject: np.ndarray, clip: np.ndarray, *, corpus: str, network: dict[str, Any]
) -> Calibration | None:
    """Measures the similarity of pictures of the same and of different subjects.

    Args:
        rows: embeddings from :func:`centred`, float32 (N, D).
        subject: number of the subject of each row, -1 if unknown, shape (N,).
        clip: number of the clip of each row, shape (N,).
        corpus: name of the corpus.
        network: settings of the network, and the SHA-256 of its weights.

    Returns:
        None if fewer than eight subjects are known.
    """
    known = np.flatnonzero(subject >= 0)
    number = pd.factorize(subject[known])[0]
    subjects = int(number.max()) + 1 if len(known) else 0
    if subjects < MIN_SUBJECTS:
        return None
    means = unit_length(sums_of(rows[known], number))
    highest = np.concatenate([_without_own(alike, start).max(axis=1) for start, alike in _blocks(means)])
    quartile, median = np.quantile(highest, [0.25, 0.5])
    scale = max(float(median - quartile) / (np.log(np.log(4)) - np.log(np.log(2))), 1e-6)
    location = float(median) + scale * np.log(np.log(2))
    chosen = known[_evenly_spaced(number)]
    same, different = _histograms(rows[chosen], subject[chosen], clip[chosen])
    step = BINS // 200  # bins per 0.01
    above = np.cumsum(different[::-1])[::-1] / max(different.sum(), 1)
    below = (np.cumsum(same) - same) / max(same.sum(), 1)
    # A similarity of 0 starts at the middle bin; a last entry for 1.
    false_match = [*above[BINS // 2 :: step].tolist(), float(different[-1] / max(different.sum(), 1))]
    false_non_match = [*below[BINS // 2 :: step].tolist(), 1.0] if same.sum() else []
    crossing = int(np.argmin(np.abs(above - below)))
    return Calibration(
        corpus=corpus,
        network=network,
        subjects=subjects,
        pictures=len(chosen),
        same_pairs=int(same.sum()),
        different_pairs=int(different.sum()),
        auc=float((same / same.sum()) @ (1 - above + 0.5 * different / different.sum())) if same.sum() else None,
        equal_error_rate=float(above[crossing] + below[crossing]) / 2 if same.sum() else None,
        location=location,
        scale=scale,
        false_match=false_match,
        false_non_match=false_non_match,
        clustering={},
    )


def clustering_errors(true: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Compares clusters with known subjects, over all pairs of units.

    Args:
        true: subject of each unit, shape (U,).
        found: cluster of each unit, shape (U,).

    Returns:
        ``subjects``, ``clusters``, ``pairs_joined`` (fraction of pairs of one subject in one cluster) and
        ``pairs_correct`` (fraction of pairs in one cluster that are of one subject); 1 without such pairs.
    """
    from sklearn.metrics.cluster import pair_confusion_matrix  # takes a quarter of a second to import

    (_, wrong), (missed, right) = pair_confusion_matrix(true, found)
    return {
        "subjects": len(np.unique(true)),
        "clusters": len(np.unique(found)),
        "pairs_joined": float(right / (right + missed)) if right + missed else 1.0,
        "pairs_correct": float(right / (right + wrong)) if right + wrong else 1.0,
    }


def same_people(people: People, manifest: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Lists names, or clips of unknown subjects, that were joined to one person.

    Args:
        people: the persons found.
        manifest: one row per frame, with its ``split``.
        rows: embedding of each frame from :func:`centred`, float32 (N, D).

    Returns:
        One row for each name and the most similar other name of the same person, most similar first, and for the most
        similar names in different subsets if a person has such names but none of its other rows shows it: ``person``,
        ``names`` (number of names of the person), ``subject_a``, ``subject_b`` (or clips), ``subsets_a``, ``subsets_b``
        (``train``, ``test+train``), ``similarity``, and ``row_a``, ``row_b``: their most similar frames.
    """
    order = np.argsort(people.unit, kind="stable")
    frames = np.split(order, np.cumsum(np.bincount(people.unit, minlength=len(people.person)))[:-1])
    name = keys(manifest, "subject").fillna(keys(manifest, "clip")).to_numpy()
    split = manifest["split"].to_numpy()
    members = np.split(np.argsort(people.person, kind="stable"), np.cumsum(np.bincount(people.person))[:-1])
    found = []
    for number, every in enumerate(members):
        units = every[[len(frames[unit]) > 0 for unit in every]]  # a split may leave frames out
        if len(units) < 2:
            continue
        pairs = {
            tuple(sorted((int(units[a + start]), int(units[b]))))
            for start, alike in _blocks(people.means[units])
            for a, b in enumerate(_without_own(alike, start).argmax(axis=1))
        }
        subsets = {int(unit): "+".join(sorted(set(split[frames[unit]]))) for unit in units}
        if len(set(subsets.values())) > 1 and all(subsets[a] == subsets[b] for a, b in pairs):
            pairs.add(_closest_across(people.means, units, np.array([subsets[int(unit)] for unit in units])))
        for a, b in sorted(pairs):
            one, other = (frames[unit][:: -(-len(frames[unit]) // MAX_PICTURES)] for unit in (a, b))
            best = np.unravel_index((rows[one] @ rows[other].T).argmax(), (len(one), len(other)))
            found.append(
                {
                    "person": number + 1,
                    "names": len(units),
                    "subject_a": name[frames[a][0]],
                    "subject_b": name[frames[b][0]],
                    "subsets_a": subsets[a],
                    "subsets_b": subsets[b],
                    "similarity": float(people.means[a] @ people.means[b]),
                    "row_a": int(one[best[0]]),
                    "row_b": int(other[best[1]]),
                }
            )
    columns = ["person", "names", "subject_a", "subject_b", "subsets_a", "subsets_b", "similarity", "row_a", "row_b"]
    table = pd.DataFrame(found, columns=columns)
    return table.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def _closest_across(means: np.ndarray, units: np.ndarray, subsets: np.ndarray) -> tuple[int, int]:
    """Returns the most similar pair of units in different subsets."""
    closest, pair = -3.0, (-1, -1)
    for start, alike in _blocks(means[units]):
        alike[subsets[start : start + len(alike), None] == subsets] = -2
        a, b = np.unravel_index(alike.argmax(), alike.shape)
        if alike[a, b] > closest:
            closest, pair = float(alike[a, b]), (int(units[start + a]), int(units[b]))
    return min(pair), max(pair)


def record(calibration: Calibration | None, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of ``identity.json``: the evidence and, if there is one, the calibration."""
    return {**evidence, "calibration": None if calibration is None else asdict(calibration)}


def _blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the first row of each block, and its similarities to all rows."""
    for start in range(0, len(rows), BLOCK_ROWS):
        yield start, rows[start : start + BLOCK_ROWS] @ rows.T


def _without_own(alike: np.ndarray, start: int) -> np.ndarray:
    """Removes the similarities of rows to themselves."""
    alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = -2
    return alike


def _evenly_spaced(number: np.ndarray) -> np.ndarray:
    """Returns positions of at most 20 rows of each subject, evenly spaced, in order."""
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return np.sort(np.concatenate([part[:: -(-len(part) // MAX_PICTURES)] for part in parts]))


def _histograms(rows: np.ndarray, subject: np.ndarray, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pairs of one subject in different clips, and of different subjects, by similarity."""
    counts = np.zeros((2, BINS), dtype=np.int64)
    for start, alike in _blocks(rows):
        stop = start + len(alike)
        later = np.arange(start, stop)[:, None] < np.arange(len(rows))[None]
        bins = np.clip(((alike + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
        is_same = subject[start:stop, None] == subject[None]
        other_clip = clip[start:stop, None] != clip[None]
        counts[0] += np.bincount(bins[later & is_same & other_clip], minlength=BINS)
        counts[1] += np.bincount(bins[later & ~is_same], minlength=BINS)
    return counts[0], counts[1]
