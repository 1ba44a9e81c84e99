"""Splits by name: each takes a manifest and says for every frame whether it is trained, validated or tested on.

Frames that a split leaves out (:func:`counts`, :func:`from_csv`, :func:`predefined`) are None.
Subjects and clips are told apart by corpus and name.

Which of them is honest is not a matter of its name: :func:`fervid.audit.leakage.audit` looks at what leaks.
"""

from fervid.splits.drawn import clips, counts, random_frames, stratified, subject
from fervid.splits.folds import loso, published_folds, subject_kfold
from fervid.splits.predefined import from_csv, predefined

__all__ = [
    "clips",
    "counts",
    "from_csv",
    "loso",
    "predefined",
    "published_folds",
    "random_frames",
    "stratified",
    "subject",
    "subject_kfold",
]
