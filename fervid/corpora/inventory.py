"""What a reader found of a corpus, held against what the corpus should hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from fervid.errors import InputError
from fervid.faces.face import Face
from fervid.media.files import File
from fervid.media.sampling import Around
from fervid.schema.tables import Table


@dataclass
class Inventory:
    """The clips of a corpus.

    Attributes:
        clips: one row a video or picture: ``clip, subject, emotion`` and what else the corpus knows.
        files: the file of each row.
        expected: how many clips each emotion should have; empty if nobody knows.
        expected_subjects: how many clips each subject should have; empty if nobody knows.
        named: what the user named, by the option: emotions, or numbers of subjects; empty if everything is wanted.
        missing: names of expected clips that were not found; those of subjects that are there first.
        notes: sentences on oddities and on what was left out.
        left_out: path and reason of each file that is not part of the corpus.
        windows: the frames of each clip that the corpus itself names, such as those around a peak; None: it names none.
        faces: where the face is in each clip, if the corpus says so; nothing is detected then.
        dropped: files that hold nothing to learn from: columns ``path`` and ``reason``.
    """

    clips: pd.DataFrame
    files: list[File]
    expected: dict[str, int] = field(default_factory=dict)
    expected_subjects: dict[str, int] = field(default_factory=dict)
    named: Mapping[str, Collection[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    dropped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason"]))
    windows: Sequence[Around] | None = None
    faces: Sequence[Face | None] | None = None

    def check_named(self, root: Path) -> None:
        """Checks that there are clips of every emotion and subject that the user named.

        Raises:
            InputError: if the user named one of which there is no clip.
        """
        for option, names in self.named.items():
            found = set(self.clips["emotion" if option == "emotions" else "subject"])
            absent = [name for name in names if name not in found]
            if absent:
                raise InputError(
                    f"dataset.{option} names {', '.join(absent)}, of which there is no clip in {root}: there are "
                    f"{', '.join(sorted(found))}; add the files, or leave the name out."
                )

    def sentences(self) -> list[str]:
        """What is odd or missing."""
        said = list(self.notes)
        found = self.clips["subject"].value_counts()
        people = [(name, int(found.get(name, 0)), count) for name, count in self.expected_subjects.items()]
        absent = [name for name, clips, _ in people if not clips]
        if absent:
            said.append(f"subjects missing: {len(absent)} of {len(people)} ({_some(absent)}).")
        partial = [f"{name} has {clips} of {count} clips" for name, clips, count in people if 0 < clips < count]
        if partial:
            said.append(f"subjects incomplete: {len(partial)} ({_some(partial)}).")
        if self.missing:
            said.append(f"clips missing: {len(self.missing)} of {sum(self.expected.values())} ({_some(self.missing)}).")
        if len(self.dropped):
            reasons = ", ".join(
                f"{count} x {reason}" for reason, count in self.dropped["reason"].value_counts().items()
            )
            said.append(f"without a usable label or file: {len(self.dropped)} entries ({reasons}).")
        return said

    def print(self, console: Console, corpus: str) -> None:
        """Counts by emotion, then what is odd or missing."""
        found = self.clips["emotion"].value_counts()
        rows: list[tuple[str, int, int | None]] = [
            (str(name), int(found.get(name, 0)), self.expected.get(name))
            for name in sorted({*found.index, *self.expected})
        ]
        rows.append(("total", len(self.clips), sum(self.expected.values())))
        if subjects := self.clips["subject"].nunique():
            rows.append(("subjects", subjects, len(self.expected_subjects) or None))
        data = pd.DataFrame(rows, columns=["emotion", "found", "complete"]).astype({"complete": "Int64"})
        data = data if self.expected else data.drop(columns="complete")
        Table("found", f"{corpus}: what was found", data).print(console)
        for sentence in self.sentences():
            console.print(f"[yellow]note:[/] {escape(sentence)}", highlight=False)


def choose_people(asked: Sequence[int] | None, known: Collection[int], option: str) -> set[int]:
    """Some of a corpus's people.

    Args:
        asked: their numbers; None: all.
        known: those of the corpus.
        option: what the user calls them.

    Raises:
        InputError: if it is no list of numbers that the corpus knows.
    """
    if asked is None:
        return set(known)
    try:
        people = {float(number) for number in asked}
    except (TypeError, ValueError):
        people = set()
    if isinstance(asked, str) or not people or not people <= set(known):
        raise InputError(
            f"dataset.{option}={asked} cannot be used: give a list such as [1,2] of the numbers {min(known)} to "
            f"{max(known)}."
        )
    return {int(number) for number in people}


def note(what: str, paths: list[str]) -> list[str]:
    """A sentence on the files something is true of; none if there is none."""
    return [f"{what}: {len(paths)} (first: {paths[0]})."] if paths else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
