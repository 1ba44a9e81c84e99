"""Finds the people of another corpus that a run has seen in training, by face embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fervid import figures
from fervid.audit.identity import MAX_PICTURES, People
from fervid.data.face_cache import FaceCache
from fervid.data.frame_datamodule import DEFAULT_CACHE, FrameDataModule
from fervid.data.identity import FaceIdentity
from fervid.report.writing import Section
from fervid.runs.drawing import caption
from fervid.runs.load import reopen_corpus
from fervid.runs.run import Run
from fervid.runs.trust import Trust
from fervid.schema.columns import keys
from fervid.schema.people import describe_people
from fervid.schema.tables import Table

DRAWN = 12  # pairs of faces in the figure
OTHER = "evaluated "  # before the name of the corpus if the run was trained on another folder with this name


@dataclass(frozen=True)
class SeenPeople:
    """The people of a corpus that look like a person whom a run was trained or validated on.

    Attributes:
        kind: ``subjects``, or ``clips`` if subjects are unknown.
        total: number of subjects or clips of the corpus.
        pairs: one row for each of them that was seen, most similar first: ``evaluated``, ``training``, ``similarity``.
        frames: whether each frame shows a person seen in training, shape (N,).
        identity: threshold, error rates and weights of the comparison.
        figure: the most similar faces of the first pairs; None if nobody was seen.
    """

    kind: str
    total: int
    pairs: pd.DataFrame
    frames: np.ndarray
    identity: dict[str, Any]
    figure: Figure | None

    def as_dict(self, *, are_left_out: bool) -> dict[str, Any]:
        """Returns the entries ``people`` and ``identity`` of ``leakage`` in ``results.json``.

        Args:
            are_left_out: whether the frames of these people are not scored.
        """
        pairs = self.pairs.iloc[:0] if are_left_out else self.pairs
        total = self.total - len(self.pairs) * are_left_out
        people = {"count": len(pairs), "total": total, "examples": pairs.head(DRAWN).to_dict("records")}
        return {"people": people, "identity": self.identity}


def find_seen_people(
    run: Run,
    datamodule: FrameDataModule,
    frames: pd.DataFrame,
    identity: FaceIdentity,
    *,
    cache_dir: str | Path = DEFAULT_CACHE,
    root: str | Path | None = None,
    trust: Trust = (),
) -> SeenPeople:
    """Compares the faces of another corpus with those that a run was trained and validated on.

    Args:
        run: the stored run, whose corpus must still be there.
        datamodule: the other corpus, prepared.
        frames: N frames of it, with their ``cache_row`` and ``split`` (``test``).
        identity: the face network and its threshold.
        cache_dir: folder of cached faces of the run's corpus.
        root: current folder of the run's corpus; None: the folder used by the run.
        trust: packages whose classes the run may use.

    Raises:
        InputError: if the corpus of the run is missing or has changed, or there is no threshold.
    """
    own = reopen_corpus(run.folder, run.results, cache_dir, root, trust=trust)
    trained = own.manifest[own.manifest["split"] != "test"]
    places = [{(each["name"], str(each["root"])) for each in corpora} for corpora in (own.corpora, datamodule.corpora)]
    is_other_folder = places[0] != places[1] and bool(set(trained["corpus"]) & set(frames["corpus"]))
    evaluated = frames.assign(corpus=OTHER + frames["corpus"]) if is_other_folder else frames
    both = pd.concat([trained, evaluated], ignore_index=True)
    rows = np.concatenate(
        [module.embeddings(identity)[each["cache_row"]] for module, each in ((own, trained), (datamodule, frames))]
    )
    people = identity.people(rows, both, datamodule.embeddings_path(identity))
    is_evaluated = np.arange(len(both)) >= len(trained)
    pairs = _closest(people, rows, is_evaluated)
    name = keys(both, "subject").fillna(keys(both, "clip")).to_numpy()
    seen_units = people.unit[pairs["row"].to_numpy(dtype=int)]
    table = pd.DataFrame(
        {
            "evaluated": name[pairs["row"].to_numpy(dtype=int)],
            "training": name[pairs["trained_row"].to_numpy(dtype=int)],
            "similarity": pairs["similarity"],
        }
    )
    return SeenPeople(
        kind="clips" if evaluated["subject"].isna().any() else "subjects",
        total=len(np.unique(people.unit[is_evaluated])),
        pairs=table,
        frames=np.isin(people.unit[is_evaluated], seen_units),
        identity=people.evidence,
        figure=_draw(pairs.head(DRAWN), both, [(own, trained), (datamodule, frames)]),
    )


def _closest(people: People, rows: np.ndarray, is_evaluated: np.ndarray) -> pd.DataFrame:
    """Returns each evaluated unit that was joined with units seen in training, and the most similar of these.

    Returns:
        One row per unit, most similar first: ``similarity`` of the units' means, and ``row`` and ``trained_row``, their
        most similar frames.
    """
    found = []
    seen = np.unique(people.unit[~is_evaluated])
    for unit in np.unique(people.unit[is_evaluated]):
        candidates = seen[people.person[seen] == people.person[unit]]
        if not len(candidates):
            continue
        alike = people.means[candidates] @ people.means[unit]
        best = candidates[alike.argmax()]
        one = np.flatnonzero((people.unit == unit) & is_evaluated)
        other = np.flatnonzero((people.unit == best) & ~is_evaluated)
        one, other = (frames[:: -(-len(frames) // MAX_PICTURES)] for frames in (one, other))
        a, b = np.unravel_index((rows[one] @ rows[other].T).argmax(), (len(one), len(other)))
        found.append({"similarity": float(alike.max()), "row": one[a], "trained_row": other[b]})
    table = pd.DataFrame(found, columns=["similarity", "row", "trained_row"])
    return table.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def _draw(
    pairs: pd.DataFrame, both: pd.DataFrame, modules: Sequence[tuple[FrameDataModule, pd.DataFrame]]
) -> Figure | None:
    if not len(pairs):
        return None
    (own, trained), (other, evaluated) = modules
    rows, trained_rows = pairs["row"].to_numpy(dtype=int), pairs["trained_row"].to_numpy(dtype=int)
    faces = FaceCache(other.face_cache_path)[evaluated["cache_row"].to_numpy()[rows - len(trained)]]
    trained_faces = FaceCache(own.face_cache_path)[trained["cache_row"].to_numpy()[trained_rows]]
    return figures.pairs(
        trained_faces,
        faces,
        [caption(both.iloc[row]) for row in trained_rows],
        [caption(both.iloc[row]) for row in rows],
        [f"similarity {alike:.2f}" for alike in pairs["similarity"]],
        "Perhaps seen in training, by face embeddings",
        columns=3,
    )


def seen_people_section(found: dict[str, SeenPeople]) -> Section:
    """Builds the section on people seen in training.

    Args:
        found: by name of the member.
    """
    sentences, tables, drawn = [], [], {}
    for number, (name, seen) in enumerate(found.items(), start=1):
        ending = f"_{number}" if len(found) > 1 else ""
        sentences.append(
            f"{name} was trained or validated on people who look like {len(seen.pairs)} of these {seen.total} "
            f"{seen.kind}, according to their faces; look-alikes may be among them."
        )
        if len(seen.pairs):
            title = f"People perhaps seen in training of {name}"
            tables.append(Table(f"seen_people{ending}", title, seen.pairs, {"similarity": "{:.3f}"}))
        if seen.figure is not None:
            drawn[f"seen_people{ending}"] = seen.figure
    evidence = [text for seen in found.values() for text in describe_people({"identity": seen.identity})]
    sentences += dict.fromkeys(evidence)
    return Section("People seen in training", tables, drawn, sentences, terminal=True)
