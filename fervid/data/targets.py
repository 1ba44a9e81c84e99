"""Targets: the values that a task learns, from columns of the manifest."""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from fervid.errors import InputError, listed
from fervid.schema.manifest import SPLITS
from fervid.schema.votes import distributions

log = logging.getLogger(__name__)


class Target(Protocol):
    """The target of a task (:meth:`fervid.tasks.task.Task.make_target`).

    Attributes:
        name: name of the batch entry with the target's values.
    """

    name: str

    @property
    def size(self) -> int:
        """Number of outputs of the network."""
        ...

    def fit(self, samples: pd.DataFrame) -> None:
        """Fits the target to the samples, for example by collecting their classes.

        Args:
            samples: one row per sample, with its ``split``.

        Raises:
            InputError: if the target cannot be learned from this split.
        """
        ...

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        """Returns the target values of N samples, (N,) or (N, D)."""
        ...

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """Returns the sampling weights of N training samples for ``sampler=balanced``, shape (N,).

        Raises:
            InputError: if there is nothing to balance.
        """
        ...


class ClassTarget:
    """A class label: the index of the sample's class in ``class_names``.

    Args:
        class_names: the classes, if they are already known.
        name: column of the manifest.

    Attributes:
        class_names: the sorted classes, after :meth:`fit`.
        counts: number of training samples per class, shape (C,), after :meth:`fit`.
    """

    def __init__(self, class_names: Sequence[str] = (), name: str = "emotion"):
        self.name, self.class_names = name, list(class_names)
        self.counts: np.ndarray | None = None

    @property
    def size(self) -> int:
        return len(self.class_names)

    def fit(self, samples: pd.DataFrame) -> None:
        """Collects and counts the classes; warns if a class has no validation or test samples.

        Raises:
            InputError: if there is only one class, or a class has no training samples.
        """
        classes = set(samples[self.name])
        if len(classes) < 2:
            (only,) = classes
            raise InputError(f"the corpus has only one {self.name} ({only!r}): at least two are needed.")
        for subset in SPLITS:
            absent = sorted(classes - set(samples.loc[samples["split"] == subset, self.name]))
            if absent and subset == "train":
                raise InputError(
                    f"the training subset has no frame of {listed(absent)}: add pictures, leave the class out, or "
                    "choose another split or split.seed."
                )
            if absent:
                log.warning(
                    "the %s subset has no frame of %s: its recall cannot be measured there.", subset, listed(absent)
                )
        self.class_names = sorted(classes)
        self.counts = np.bincount(self.values(samples[samples["split"] == "train"]), minlength=self.size)

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        return pd.Categorical(samples[self.name], categories=self.class_names).codes.astype(np.int64)

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """Returns weights with which all classes are drawn equally often."""
        labels = self.values(samples)
        return 1.0 / np.bincount(labels, minlength=self.size)[labels]


class VoteTarget(ClassTarget):
    """A class label, and the distribution of several people's votes over the classes.

    Batches have both: the label in the entry ``emotion``, and the distribution in :attr:`entry`, float32 (B, C).

    Attributes:
        entry: name of the batch entry with the distribution.
    """

    entry = "votes"

    def fit(self, samples: pd.DataFrame) -> None:
        """Collects and counts the classes, and checks the votes.

        Raises:
            InputError: as :class:`ClassTarget`, or if a class has no column of votes, or a sample has no votes.
        """
        super().fit(samples)
        self.distributions(samples)

    def distributions(self, samples: pd.DataFrame) -> np.ndarray:
        """Returns the distribution of the votes on N samples, float32 (N, C), in the order of the classes."""
        return distributions(samples, self.class_names)
