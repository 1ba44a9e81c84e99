"""Clips found by a corpus reader, checked against the published inventory."""

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
        clips: one row per video or picture, with ``clip, subject, emotion`` and any other columns of the corpus.
        files: the file of each row.
        expected: expected number of clips per emotion; empty if unknown.
        expected_subjects: expected number of clips per subject; empty if unknown.
        selected: emotions or subjects selected by the user, by option; empty if everything is used.
        missing: names of expected clips that were not found, starting with those of subjects that were found.
        notes: sentences on anything unexpected and on files that were left out.
        left_out: Path and reason for each file that is not part of the corpus.
        windows: frames of each clip that the corpus annotates, such as those around a peak; None if it does not.
        faces: annotated face of each clip; no faces are detected then. None if the corpus has no such annotation.
        dropped: files without a usable label or content, with columns ``path`` and ``reason``.
    """

    clips: pd.DataFrame
    files: list[File]
    expected: dict[str, int] = field(default_factory=dict)
    expected_subjects: dict[str, int] = field(default_factory=dict)
    selected: Mapping[str, Collection[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    dropped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason"]))
    windows: Sequence[Around] | None = None
    faces: Sequence[Face | None] | None = None

    def check_selected(self, root: Path) -> None:
        """Checks that there are clips of every emotion and subject that the user selected.

        Raises:
            InputError: if there are none.
        """
        for option, names in self.selected.items():
            found = set(self.clips["emotion" if option == "emotions" else "subject"])
            absent = [name for name in names if name not in found]
            if absent:
                raise InputError(
                    f"dataset.{option} selects {', '.join(absent)}, which has no clips in {root}: found "
                    f"{', '.join(sorted(found))}; add the files, or remove the name."
                )

    def sentences(self) -> list[str]:
        """Returns sentences on anything missing or unexpected."""
        sentences = list(self.notes)
        found = self.clips["subject"].value_counts()
        subjects = [(name, int(found.get(name, 0)), count) for name, count in self.expected_subjects.items()]
        absent = [name for name, clips, _ in subjects if not clips]
        if absent:
            sentences.append(f"subjects missing: {len(absent)} of {len(subjects)} ({_some(absent)}).")
        partial = [f"{name} has {clips} of {count} clips" for name, clips, count in subjects if 0 < clips < count]
        if partial:
            sentences.append(f"subjects incomplete: {len(partial)} ({_some(partial)}).")
        if self.missing:
            total = sum(self.expected.values())
            sentences.append(f"clips missing: {len(self.missing)} of {total} ({_some(self.missing)}).")
        if len(self.dropped):
            reasons = ", ".join(
                f"{count} x {reason}" for reason, count in self.dropped["reason"].value_counts().items()
            )
            sentences.append(f"without a usable label or file: {len(self.dropped)} entries ({reasons}).")
        return sentences

    def print(self, console: Console, corpus: str) -> None:
        """Prints the number of clips per emotion, then anything missing or unexpected."""
        found = self.clips["emotion"].value_counts()
        rows: list[tuple[str, int, int | None]] = [
            (str(name), int(found.get(name, 0)), self.expected.get(name))
            for name in sorted({*found.index, *self.expected})
        ]
        rows.append(("total", len(self.clips), sum(self.expected.values())))
        if subjects := self.clips["subject"].nunique():
            rows.append(("subjects", subjects, len(self.expected_subjects) or None))
        data = pd.DataFrame(rows, columns=["emotion", "found", "expected"]).astype({"expected": "Int64"})
        data = data if self.expected else data.drop(columns="expected")
        Table("found", f"Inventory of {corpus}", data).print(console)
        for sentence in self.sentences():
            console.print(f"[yellow]note:[/] {escape(sentence)}", highlight=False)


def choose_subjects(subjects: Sequence[int] | None, known: Collection[int]) -> set[int]:
    """Returns the selected subjects of a corpus.

    Args:
        subjects: numbers of the selected subjects; None: all.
        known: numbers of all subjects of the corpus.

    Raises:
        InputError: if ``subjects`` is not a list of known numbers.
    """
    if subjects is None:
        return set(known)
    try:
        chosen = {float(number) for number in subjects}
    except (TypeError, ValueError):
        chosen = set()
    if isinstance(subjects, str) or not chosen or not chosen <= set(known):
        numbers = sorted(known)
        is_range = len(numbers) > 20 or numbers == list(range(numbers[0], numbers[-1] + 1))
        raise InputError(
            f"dataset.subjects={subjects} cannot be used: give a list such as "
            f"[{','.join(map(str, numbers[:2]))}] of the numbers "
            + (f"{numbers[0]} to {numbers[-1]}." if is_range else f"{', '.join(map(str, numbers))}.")
        )
    return {int(number) for number in chosen}


def absent_subjects(subjects: Collection[str], clips: pd.DataFrame) -> list[str]:
    """Returns a list with one sentence on subjects without clips; empty if there are none, or no clips at all."""
    absent = sorted(set(subjects) - set(clips["subject"])) if len(clips) else []
    return [f"subjects missing: {len(absent)} of {len(subjects)} (first: {absent[0]})."] if absent else []


def note(what: str, paths: list[str]) -> list[str]:
    """Returns a list with one sentence on the given files; an empty list if there are none."""
    return [f"{what}: {len(paths)} (first: {paths[0]})."] if paths else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
