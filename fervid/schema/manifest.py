"""The manifest: a table with one row per frame, from which all later steps read.

Its columns are declared in :mod:`fervid.schema.columns`. A corpus may add further ones (``sex``, ``intensity``,
``spectacles``, ...), and a user's CSV any column.
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
"""Maps common spellings to the subset."""


def check_manifest(manifest: pd.DataFrame) -> pd.DataFrame:
    """Checks a manifest and cleans its names.

    Args:
        manifest: one row per frame.

    Returns:
        The same rows, numbered from 0: the row number is the ``index`` in a batch. Names of subjects, clips and
        emotions are cleaned (:func:`fervid.schema.names.clean_name`).

    Raises:
        InputError: if a column is missing, there are no frames, or there are fewer than two emotions.
    """
    missing = [column for column in REQUIRED if column not in manifest]
    if missing:
        raise InputError(
            f"the manifest lacks the column(s) {', '.join(missing)}: a corpus reader must provide "
            f"{', '.join(REQUIRED)}."
        )
    if manifest.empty:
        raise InputError("the corpus has no frames: check dataset.root and the settings of the corpus.")
    manifest = clean_identities(manifest)
    emotions = manifest["emotion"].unique()
    if len(emotions) < 2:
        raise InputError(f"the corpus has only one emotion ({emotions[0]!r}): at least two are needed.")
    return manifest.reset_index(drop=True)


def emotion_by_split(manifest: pd.DataFrame) -> pd.DataFrame:
    """Counts the frames of each emotion in each subset.

    Args:
        manifest: one row per frame, with the column ``split``.

    Returns:
        A table with one row per emotion and a last row ``total``, and one column per subset.
    """
    table = pd.crosstab(manifest["emotion"], manifest["split"]).reindex(columns=SPLITS, fill_value=0)
    table.loc["total"] = table.sum()
    return table


def corpus_by_split(manifest: pd.DataFrame) -> pd.DataFrame:
    """Counts the frames of each corpus in each subset; one row per corpus and one column per subset.

    Args:
        manifest: one row per frame, with the column ``split``.
    """
    return pd.crosstab(manifest["corpus"], manifest["split"]).reindex(columns=SPLITS, fill_value=0)
