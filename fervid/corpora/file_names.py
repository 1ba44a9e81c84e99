"""Describes the files of a corpus by their names and folders."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from fervid.media.files import File, Listing


def describe_files(
    listing: Listing,
    files: Iterable[File],
    describe: Callable[[File], dict[str, Any] | None],
    unlike: str,
    *,
    duplicates: str = "duplicates",
) -> pd.DataFrame:
    """Describes files by their names and folders; of several files of one clip, the first is used.

    Args:
        listing: records the files that are left out.
        files: the files, in order of preference.
        describe: function that returns the columns of a file, with ``clip``; None if the file is not of the corpus.
        unlike: why a file is left out that is not of the corpus, in a few words.
        duplicates: why a further file of a clip is left out.

    Returns:
        One row per clip, sorted by ``clip``, with the column ``file``.
    """
    found: dict[str, dict[str, Any]] = {}
    others: list[str] = []
    copies: list[str] = []
    for file in files:
        row = describe(file)
        if row is None:
            others.append(file.path)
        elif row["clip"] in found:
            copies.append(file.path)
        else:
            found[row["clip"]] = row | {"file": file}
    listing.leave_out(unlike, others)
    listing.leave_out(duplicates, copies)
    return pd.DataFrame([found[clip] for clip in sorted(found)])
