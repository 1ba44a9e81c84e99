"""Splits by name: each takes a manifest and says for every frame whether it is trained, validated or tested on.

A frame that a split has no use for (:func:`counts`, :func:`file`, :func:`given`) is None: it is to be left out.
Subjects and clips are told apart by corpus and name.

Which of them is honest is not a matter of its name: :func:`fervid.audit.leakage.audit` looks at what leaks.
"""

from fervid.splits.drawn import clips, counts, random_frames, stratified, subject
from fervid.splits.folds import fixed, loso, subject_kfold
from fervid.splits.predefined import file, given

__all__ = [
    "clips",
    "counts",
    "file",
    "fixed",
    "given",
    "loso",
    "random_frames",
    "stratified",
    "subject",
    "subject_kfold",
]
