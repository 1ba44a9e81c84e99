"""Split rules: each assigns every frame of a manifest to the subset train, val or test.

Frames that a split leaves out (:func:`counts`, :func:`from_csv`, :func:`predefined`) are None.
A subject or clip is identified by its corpus and name together.

:func:`fervid.audit.leakage.audit` reports what a split leaks.
"""

from fervid.splits.across_corpora import each_corpus, leave_corpus_out
from fervid.splits.drawn import clips, counts, identity, random_frames, stratified, subject
from fervid.splits.folds import loso, published_folds, subject_kfold
from fervid.splits.predefined import from_csv, predefined

__all__ = [
    "clips",
    "counts",
    "each_corpus",
    "from_csv",
    "identity",
    "leave_corpus_out",
    "loso",
    "predefined",
    "published_folds",
    "random_frames",
    "stratified",
    "subject",
    "subject_kfold",
]
