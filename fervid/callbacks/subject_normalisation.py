"""Standardises the features of frozen encoders by subject, to learn deviations from a person's usual expression."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fervid.data.datamodule import EmotionDataModule
from fervid.data.inputs import CachedFeatures, Features
from fervid.errors import InputError
from fervid.schema.columns import keys

MIN_SAMPLES = 5  # per subject; the deviation of fewer is mostly chance


def normalised_by_subject(features: Features, datamodule: EmotionDataModule, modalities: tuple[str, ...]) -> Features:
    """Returns features with mean 0 and deviation 1 for each subject.

    The mean and deviation of a subject are those of all its samples in a subset, without their labels. Test subjects
    are normalised in the same way: the scores hold for people of whom several recordings are at hand.

    Args:
        features: features of each subset, by modality: one vector per sample.
        datamodule: provides the subjects.
        modalities: modalities that must be cached.

    Raises:
        InputError: if a subject is unknown or has too few samples, or features are not cached or no vectors.
    """
    found: dict[str, Mapping[str, CachedFeatures]] = {}
    for subset in ("train", "val", "test"):
        samples = datamodule.samples_of(subset)
        subjects = keys(samples, "subject")
        if subjects.isna().any():
            raise InputError("finetune.subject_normalisation=true needs the subject of every sample: set it to false.")
        counts = subjects.value_counts()
        if len(counts) and counts.min() < MIN_SAMPLES:
            raise InputError(
                f"subject {counts.idxmin()} has {counts.min()} samples in the {subset} subset, but finetune."
                f"subject_normalisation=true needs at least {MIN_SAMPLES} of each subject: set it to false."
            )
        cached = features.get(subset, {})
        if not set(modalities) <= cached.keys():
            raise InputError(
                "finetune.subject_normalisation=true needs the cached features of all subsets: use phases with "
                "unfreeze_from=head, no augmentation, one device, and a large enough finetune.cache_gb."
            )
        found[subset] = {name: _normalised(each, subjects) for name, each in cached.items()}
    return found


def _normalised(cached: CachedFeatures, subjects: pd.Series) -> CachedFeatures:
    if cached.rows.ndim > 1 or cached.views[0].ndim > 2 or len(cached.views) > 1 or cached.mirrored is not None:
        raise InputError(
            "finetune.subject_normalisation=true needs one vector per sample: use a pooling without weights, no flips, "
            "and a fusion of vectors."
        )
    values = pd.DataFrame(cached.views[0][cached.rows].astype(np.float64))
    by_subject = values.groupby(subjects.to_numpy())
    deviation = by_subject.transform("std", ddof=0)
    normalised = (values - by_subject.transform("mean")) / deviation.where(deviation > 1e-6, 1.0)
    array = np.ascontiguousarray(normalised.to_numpy(np.float32))
    return CachedFeatures((array,), np.arange(len(array)), cached.chances)
