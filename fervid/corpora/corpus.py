"""Base class of corpora: reads a folder into a table of clips and knows licence and citation."""

from collections.abc import Iterator
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from fervid.corpora.inventory import Inventory
from fervid.errors import InputError
from fervid.media.files import RENDERED
from fervid.media.sources import Source
from fervid.schema.names import clean_identities, doubts

RENDERED_TERMS = {
    "licence": "rendered by fervid (MIT): contains no pictures of people",
    "citation": "",
    "expressions": "are rendered by a few rules: it has not been tested on real faces.",
    "rendered": True,
}
"""Terms of corpora with rendered subjects, in any layout."""


class Corpus:
    """A corpus of videos, pictures or sound files.

    To add a corpus, write a subclass that sets the class attributes and implements :meth:`read`. It decodes nothing and
    needs neither torch nor OpenCV. Options are keyword arguments of ``__init__`` and settings under ``dataset`` in the
    yaml file. The name of an option with a path must end in ``_path``: such a path does not affect whether two runs
    count as the same.

    Args:
        root: Path to the folder of the corpus.

    Attributes:
        name: value of the manifest's column ``corpus``.
        licence: terms of use.
        citation: paper to cite; empty if there is none.
        expressions: end of the sentence "The expressions that it learned from ..." in a model card.
        pictures: whether the files are pictures rather than videos.
        sound_only: whether the selected files have sound but no pictures.
        with_sound: whether the clips are read for their sound (see :meth:`for_sound`).
        published: whether subjects and clips have the same names in every copy of the corpus. Names in a folder of
            your own files have no meaning elsewhere.
        subjects_from: where the names of subjects come from if nobody has verified that each name is one person; None
            if the corpus itself identifies its subjects. Set by :meth:`read`.

    Raises:
        InputError: if ``root`` is None.
    """

    name: str
    licence: ClassVar[str] = "unknown: ask the provider of the files"
    citation: ClassVar[str] = ""
    expressions: ClassVar[str] = "may be acted or spontaneous, which look different; the corpus does not state which."
    pictures: ClassVar[bool] = False
    sound_only: bool = False
    with_sound: bool = False
    published: ClassVar[bool] = True

    def __init__(self, root: str | Path | None):
        if root is None:
            raise InputError(f"dataset={self.name} needs dataset.root=<folder>: give the folder of the corpus.")
        self.root = Path(root).expanduser()
        self.subjects_from: str | None = None

    def read(self) -> Inventory:
        """Lists the clips or pictures selected by the options, and anything missing or unexpected; decodes nothing.

        Raises:
            InputError: if the folder cannot be read or has nothing that the options select.
        """
        raise NotImplementedError

    def for_sound(self) -> Self:
        """Returns this corpus with the clips that have sound, for ``sample=sound``.

        Raises:
            InputError: if the corpus has pictures.
        """
        if self.pictures:
            raise InputError(f"dataset={self.name} has pictures without sound: give sample=frame, or another dataset.")
        corpus = copy(self)
        vars(corpus).pop("inventory", None)
        corpus.with_sound = True
        return corpus

    def choices(self) -> dict[str, Any]:
        """Returns the options that select clips, as plain values, for the card."""
        return {}

    def sources(self) -> Iterator[Source]:
        """Yields the file of each row of the inventory, in order, reading each one lazily."""
        return (file.source for file in self.inventory.files)

    def recording_of(self, name: str) -> str:
        """Returns the recording that a file is a version of, to match files computed from another version of it.

        Args:
            name: name of the file without folders and suffix. By default, it is returned unchanged.
        """
        return name

    @property
    def rendered(self) -> bool:
        """Whether the subjects are rendered, that is, the folder contains a file ``RENDERED.txt``."""
        return ((self.root if self.root.is_dir() else self.root.parent) / RENDERED).exists()

    @cached_property
    def inventory(self) -> Inventory:
        """The result of :meth:`read`, with normalised names.

        Raises:
            InputError: if there are no clips, or none of an emotion or subject that the user selected.
        """
        inventory = self.read()
        if inventory.clips.empty:
            raise InputError(
                f"no clips of {self.name} were found in {self.root}: check dataset.root and the options. "
                f"{' '.join(inventory.notes)}".strip()
            )
        inventory.check_selected(self.root)
        clips = inventory.clips.assign(corpus=self.name, path=[file.path for file in inventory.files])
        inventory.clips = clean_identities(clips).reset_index(drop=True)
        if self.subjects_from:
            inventory.notes += [f"subjects come from {self.subjects_from} and are not verified."]
            inventory.notes += doubts(inventory.clips)
        return inventory

    def about(self) -> dict[str, Any]:
        """Returns the description of the corpus for cards and results, as plain values."""
        terms = {"licence": self.licence, "citation": self.citation, "expressions": self.expressions, "rendered": False}
        return {
            "name": self.name,
            "root": str(self.root),
            "pictures": self.pictures,
            "published": self.published,
            **(RENDERED_TERMS if self.rendered else terms),
        }
