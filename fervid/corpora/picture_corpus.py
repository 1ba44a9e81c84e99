"""Base class of corpora of still pictures with published labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.corpora.pixel_tables import read_pixels
from fervid.media.files import Listing
from fervid.media.sources import Source
from fervid.schema.emotions import choose


class PictureCorpus(Corpus):
    """A corpus of still pictures, of which some emotions may be selected.

    Args:
        root: Path to the folder of the corpus.
        counts: published number of pictures of each emotion.
        emotions: emotions to use; None: all of ``counts``.

    Raises:
        InputError: if an option is invalid.
    """

    pictures = True

    def __init__(self, root: str | Path | None, counts: Mapping[str, int], emotions: Sequence[str] | None):
        super().__init__(root)
        self.counts = counts
        self.emotions = choose(emotions, tuple(counts))
        self.selected = {} if emotions is None else {"emotions": sorted(self.emotions)}

    def choices(self) -> dict[str, Any]:
        return {"emotions": [name for name in self.counts if name in self.emotions]}

    def sources(self) -> Iterator[Source]:
        """Yields the file of each picture, or its bytes if it is a row of a table of pixels, in order."""
        files = self.inventory.files
        return read_pixels(files) if files and files[0].suffix == ".csv" else super().sources()

    def take_stock(
        self,
        listing: Listing,
        rows: pd.DataFrame,
        *,
        counts: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
        **details: Any,
    ) -> Inventory:
        """Returns the inventory of the pictures with a selected emotion.

        Args:
            listing: the files, with notes on those that were left out.
            rows: one row per picture: the columns of the manifest, and ``file``.
            counts: published number of pictures of each emotion in this layout, if other than in the default one.
            notes: further sentences.
            **details: other attributes of the inventory.
        """
        used = rows[rows["emotion"].isin(self.emotions)] if len(rows) else rows
        counts = self.counts if counts is None else counts
        return Inventory(
            used.drop(columns="file", errors="ignore").reset_index(drop=True),
            used["file"].tolist() if len(used) else [],
            expected={name: counts[name] for name in counts if name in self.emotions},
            selected=self.selected,
            notes=[*listing.notes, *notes],
            left_out=listing.left_out,
            **details,
        )


def subset_notes(subsets: Iterable[str], published: Mapping[str, int], what: str = "pictures") -> list[str]:
    """Returns a sentence on each subset that has another number of pictures than the published one."""
    found = pd.Series(list(subsets), dtype=object).value_counts()
    return [
        f"{subset}: {found.get(subset, 0)} of {count} {what} were found."
        for subset, count in published.items()
        if found.get(subset, 0) != count
    ]
