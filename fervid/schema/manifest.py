"""The manifest: one row a frame, and everything downstream reads it alone.

Its columns are declared in :mod:`fervid.schema.columns`; a corpus adds what else it knows (``sex``, ``intensity``,
``spectacles``, ...), and a list of one's own any column.
"""

import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import REQUIRED
from fervid.schema.names import clean_identities

SPLITS = ["train", "val", "test"]
SPELLINGS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}
"""The subset that each usual spelling means."""


def check_manifest(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the manifest if it can be trained on.

    Args:
        manifest: one row a frame.

    Returns:
        The same rows, numbered from 0: that number is the ``index`` of a batch. Names of subjects, clips and emotions
        are cleaned (:func:`fervid.schema.names.clean_name`).

    Raises:
        InputError: if a column is missing, there is no frame, or there are fewer than two emotions.
    """
    missing = [column for column in REQUIRED if column not in manifest]
    if missing:
        raise InputError(
            f"the manifest lacks the column(s) {', '.join(missing)}: every corpus reader gives {REQUIRED}."
        )
    if manifest.empty:
        raise InputError("the corpus holds no frame: check dataset.root and the corpus's options.")
    manifest = clean_identities(manifest)
    emotions = manifest["emotion"].unique()
    if len(emotions) < 2:
        raise InputError(f"the corpus holds only one emotion ({emotions[0]!r}): at least two are needed to tell apart.")
    return manifest.reset_index(drop=True)


def emotion_by_split(manifest: pd.DataFrame) -> pd.DataFrame:
    """Counts frames.

    Args:
        manifest: one row a frame, with its ``split``.

    Returns:
        A table with one row an emotion and a last row ``total``, one column a split.
    """
    table = pd.crosstab(manifest["emotion"], manifest["split"]).reindex(columns=SPLITS, fill_value=0)
    table.loc["total"] = table.sum()
    return table
