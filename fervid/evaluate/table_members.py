"""Tables of posteriors as members of an ensemble: matched to the frames of the runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import InputError
from fervid.evaluate.members import Member
from fervid.evaluate.posteriors import PosteriorTable
from fervid.schema.emotions import merge_classes, shared_name
from fervid.schema.leakage_levels import LeakageLevel


@dataclass
class TableMember:
    """A table of posteriors that is combined with runs.

    Attributes:
        table: the table.
        name: short name, unique among the members.
        classes: name of each class, all different: on the runs' own corpus as the runs name it, else its shared name.
        probabilities: probabilities (N, C) of these classes for the N frames.
    """

    table: PosteriorTable
    name: str
    classes: list[str] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def class_names(self) -> list[str]:
        """The emotions, as the files name them."""
        return self.table.class_names

    @property
    def leakage(self) -> dict[str, Any]:
        """What is known of the overlap with the data that its model was trained on: nothing."""
        return {"level": str(LeakageLevel.UNKNOWN_SUBJECTS)}

    def look_up(self, frames: pd.DataFrame, emotions: Sequence[str] = ()) -> None:
        """Sets ``classes`` and ``probabilities`` for frames whose clips all have a row.

        Args:
            frames: N frames, from :func:`keep_covered`.
            emotions: names of the emotions that the runs use instead of the shared names.
        """
        own = {shared_name(emotion): emotion for emotion in emotions}
        names = [own.get(shared_name(name), shared_name(name)) for name in self.class_names]
        rows, _ = self.table.match(frames)
        self.probabilities, self.classes = merge_classes(self.table.probabilities[rows], names)


def open_tables(tables: Sequence[PosteriorTable], members: Sequence[Member], own_corpus: bool) -> list[TableMember]:
    """Gives each table a name and, on the runs' own corpus, checks its emotions.

    Raises:
        InputError: if, on their own corpus, a table lacks an emotion of the runs.
    """
    opened: list[TableMember] = []
    for table in tables:
        known = {shared_name(name) for name in table.class_names}
        missing = [name for name in members[0].class_names if shared_name(name) not in known]
        if own_corpus and missing:
            raise InputError(
                f"posteriors={table.source} has no probability of {', '.join(missing)}, which the runs classify: it "
                f"has {', '.join(table.class_names)}; give a table with these emotions."
            )
        taken = {"ensemble", *(member.name for member in members), *(member.name for member in opened)}
        endings = ("", *(f"_{number}" for number in range(2, len(taken) + 2)))
        opened.append(
            TableMember(table, next(f"{table.name}{end}" for end in endings if table.name + end not in taken))
        )
    return opened


def keep_covered(tables: Sequence[TableMember], members: Sequence[Member], base: int) -> list[str]:
    """Drops the frames of clips that a table lacks from all members.

    Args:
        tables: the tables.
        members: aligned members; their frames are changed.
        base: number of the member whose clip names are matched.

    Returns:
        Sentences on each table: how it was matched and what was omitted.

    Raises:
        InputError: if no frame is left, or a table cannot be matched.
    """
    if not tables:
        return []
    frames = members[base].frames
    matches = [table.table.match(frames) for table in tables]
    covered = np.all([rows >= 0 for rows, _ in matches], axis=0)
    if not covered.any():
        names = " and ".join(table.table.source for table in tables)
        raise InputError(
            f"no evaluated clip is in all of {names}: give tables that cover the same clips, such as all folds of each."
        )
    sentences = []
    for table, (rows, matched) in zip(tables, matches, strict=True):
        lacking = frames[rows < 0]
        omitted = f"; {len(lacking)} frames of {lacking['clip'].nunique()} clips that it lacks are omitted"
        extra = [name for name in table.class_names if shared_name(name) not in _shared(members)]
        restricted = f"; the probability of {', '.join(extra)}, which not every run classifies, is redistributed"
        sentences.append(
            f"{table.name}: posteriors of {np.unique(rows[covered]).size} clips from {table.table.source}, matched by "
            f"{matched} and used for each frame of a clip{omitted if len(lacking) else ''}"
            f"{restricted if extra else ''}. It is unknown what its model was trained on."
        )
    if not covered.all():
        for member in members:
            member.frames, member.is_whole = member.frames[covered], False
    return sentences


def _shared(members: Sequence[Member]) -> set[str]:
    """Shared names of the emotions that all runs classify."""
    return set.intersection(*({shared_name(name) for name in member.class_names} for member in members))
