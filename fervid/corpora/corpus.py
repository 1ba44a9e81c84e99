"""What a corpus is: a reader from a folder to a table of clips, and what must be known to use it."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from fervid.corpora.inventory import Inventory
from fervid.errors import InputError
from fervid.media.files import RENDERED
from fervid.media.sources import Source
from fervid.schema.names import clean_identities, doubts

RENDERED_TERMS = {
    "licence": "rendered by fervid (MIT): no picture of a person is in it",
    "citation": "",
    "expressions": "are rendered after a few rules: on real faces it has not been tested.",
    "rendered": True,
}
"""What holds of rendered subjects, in whatever layout they lie."""


class Corpus:
    """A corpus of videos or pictures.

    A new corpus is a subclass that sets the class attributes and implements :meth:`read`; it decodes nothing and needs
    neither torch nor OpenCV. Its options are keyword arguments of its ``__init__``, and settings under ``dataset`` in
    its yaml file; the name of one that holds a path ends in ``_path``: a run is the same wherever that file lies.

    Args:
        root: the folder of the corpus.

    Attributes:
        name: the value of the manifest's column ``corpus``.
        licence: the terms of use.
        citation: the paper to cite; empty if there is none.
        expressions: ends the sentence "The expressions that it learned from ..." of a model card.
        pictures: whether the files are pictures, not videos.
        published: whether subjects and clips have the same names wherever the corpus lies. The names in a folder of
            one's own files mean nothing elsewhere.
        subjects_from: where the names of subjects come from if nobody has verified that each name is one person; None
            if the corpus itself identifies its subjects. Set by :meth:`read`.

    Raises:
        InputError: if there is no root.
    """

    name: ClassVar[str]
    licence: ClassVar[str] = "unknown: whoever gave you the files can say"
    citation: ClassVar[str] = ""
    expressions: ClassVar[str] = "may be acted or spontaneous, which look different: the corpus does not say."
    pictures: ClassVar[bool] = False
    published: ClassVar[bool] = True

    def __init__(self, root: str | Path | None):
        if root is None:
            raise InputError(f"dataset={self.name} needs dataset.root=<folder>: where the corpus lies.")
        self.root = Path(root).expanduser()
        self.subjects_from: str | None = None

    def read(self) -> Inventory:
        """Lists the clips, or pictures, that the options ask for, and what is odd or missing; decodes nothing.

        Raises:
            InputError: if the folder cannot be read, or holds nothing that the options ask for.
        """
        raise NotImplementedError

    def choices(self) -> dict[str, Any]:
        """The options that say which clips were asked for, as plain values, for the card."""
        return {}

    def sources(self) -> Iterator[Source]:
        """The video or picture of each row of the inventory, in order, each read only when it is asked for."""
        return (file.source for file in self.inventory.files)

    @property
    def rendered(self) -> bool:
        """Whether its subjects are rendered: a file ``RENDERED.txt`` lies in its folder."""
        return ((self.root if self.root.is_dir() else self.root.parent) / RENDERED).exists()

    @cached_property
    def inventory(self) -> Inventory:
        """What :meth:`read` found, with clean names.

        Raises:
            InputError: if there is no clip, or none of an emotion or subject that the user named.
        """
        inventory = self.read()
        if inventory.clips.empty:
            raise InputError(
                f"no clip of {self.name} was found in {self.root}: check dataset.root and its options. "
                f"{' '.join(inventory.notes)}".strip()
            )
        inventory.check_named(self.root)
        clips = inventory.clips.assign(corpus=self.name, path=[file.path for file in inventory.files])
        inventory.clips = clean_identities(clips).reset_index(drop=True)
        if self.subjects_from:
            inventory.notes += [f"subjects come from {self.subjects_from} and are not verified."]
            inventory.notes += doubts(inventory.clips)
        return inventory

    def about(self) -> dict[str, Any]:
        """What cards and results tell of the corpus, as plain values."""
        terms = {"licence": self.licence, "citation": self.citation, "expressions": self.expressions, "rendered": False}
        return {
            "name": self.name,
            "root": str(self.root),
            "pictures": self.pictures,
            "published": self.published,
            **(RENDERED_TERMS if self.rendered else terms),
        }
