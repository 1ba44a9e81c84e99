"""Splits by name: each says for every frame whether it is trained, validated or tested on."""

from fervid.splits.rules import (
    clips,
    counts,
    file,
    fixed,
    given,
    loso,
    random_frames,
    stratified,
    subject,
    subject_kfold,
)

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
