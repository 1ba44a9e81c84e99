"""Terminal output and files of a search for the same people by face embeddings."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from fervid import figures
from fervid.audit.identity import record
from fervid.data.datamodule import EmotionDataModule
from fervid.runs.drawing import caption
from fervid.schema.people import describe_errors
from fervid.storage.atomic import write_csv, write_json
from fervid.storage.escaping import spreadsheet


def print_people(console: Console, datamodule: EmotionDataModule) -> None:
    """Prints how many people were found by face embeddings, and the threshold, errors and terms of the search."""
    people = datamodule.people
    assert people is not None
    evidence, measured = people.evidence, people.evidence["measured"]
    kind = "clips" if people.clustered else "subjects"
    sizes = pd.Series(people.person).value_counts()
    console.print(
        f"{len(people.person)} {kind} are {len(sizes)} people by their faces; the largest have "
        f"{', '.join(map(str, sizes.head(12)))} {kind}.",
        highlight=False,
    )
    chosen = evidence["false_match_rate"]
    console.print(
        f"Threshold: similarity {evidence['threshold']:.3f}"
        + (f", for a false-match rate of {chosen:g}." if chosen else ", as given."),
        highlight=False,
    )
    if measured:
        console.print(describe_errors(measured), highlight=False)
    for sentence in evidence["terms"]:
        console.print(sentence, highlight=False, markup=False)


def write_people(folder: Path, datamodule: EmotionDataModule) -> None:
    """Writes the names of each person, their faces, and the evidence with its calibration.

    Args:
        folder: receives ``identity.json``, ``identity.csv`` and, if a person has several names, ``identity.png``.
        datamodule: corpus with the people found.
    """
    people, pairs = datamodule.people, datamodule.same_people
    assert people is not None
    assert pairs is not None
    write_json(folder / "identity.json", record(people.calibration, people.evidence))
    paths = {f"path_{end}": datamodule.manifest["path"].to_numpy()[pairs[f"row_{end}"]] for end in "ab"}
    write_csv(folder / "identity.csv", spreadsheet(pairs.drop(columns=["row_a", "row_b"]).assign(**paths)))
    drawn = _draw_people(datamodule)
    if drawn:
        figures.save(drawn, folder / "identity.png")


def _draw_people(datamodule: EmotionDataModule, limit: int = 12) -> Figure | None:
    """Draws the most similar pair of each person with several names, first those in several subsets, most names first.

    Returns:
        None if no person has several names.
    """
    pairs, manifest = datamodule.same_people, datamodule.manifest
    if pairs is None or not len(pairs):
        return None
    crosses = pairs["subsets_a"] != pairs["subsets_b"]
    shown = (
        pairs.assign(crosses=crosses)
        .sort_values(["crosses", "names", "similarity"], ascending=False, kind="stable")
        .drop_duplicates("person")
        .head(limit)
    )
    kind = "clips" if datamodule.subjects_clustered else "names"
    faces = datamodule.face_cache
    one, other = (manifest.iloc[shown[row].tolist()] for row in ("row_a", "row_b"))
    return figures.pairs(
        faces[one["cache_row"].to_numpy()],
        faces[other["cache_row"].to_numpy()],
        [caption(frame) for _, frame in one.iterrows()],
        [caption(frame) for _, frame in other.iterrows()],
        [
            f"{names} {kind}, similarity {alike:.2f}"
            for names, alike in zip(shown["names"], shown["similarity"], strict=True)
        ],
        "Perhaps one person, by face embeddings",
        columns=3,
    )
