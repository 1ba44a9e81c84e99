"""What is learned of samples: columns of the manifest as numbers."""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from fervid.errors import InputError, listed
from fervid.schema.manifest import SPLITS

log = logging.getLogger(__name__)


class Target(Protocol):
    """What a task learns of a sample; a task makes its own (:meth:`fervid.tasks.task.Task.make_target`).

    Attributes:
        name: the entry of a batch that holds its numbers.
    """

    name: str

    @property
    def size(self) -> int:
        """How many outputs a network has for it."""
        ...

    def fit(self, samples: pd.DataFrame) -> None:
        """Learns what it needs to know of the samples, such as their classes.

        Args:
            samples: one row a sample, with its ``split``.

        Raises:
            InputError: if it cannot be learned from this split.
        """
        ...

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        """The numbers of N samples, (N,) or (N, D)."""
        ...

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """How often each of N training samples is to be drawn for ``sampler=balanced``, relatively, shape (N,).

        Raises:
            InputError: if there is nothing to balance.
        """
        ...


class ClassTarget:
    """One of several classes: a label is its position among them.

    Args:
        class_names: the classes, if they are known already.
        name: column of the manifest.

    Attributes:
        class_names: the classes, sorted, after :meth:`fit`.
        counts: training samples of each class, shape (C,), likewise.
    """

    def __init__(self, class_names: Sequence[str] = (), name: str = "emotion"):
        self.name, self.class_names = name, list(class_names)
        self.counts: np.ndarray | None = None

    @property
    def size(self) -> int:
        return len(self.class_names)

    def fit(self, samples: pd.DataFrame) -> None:
        """Numbers the classes; warns of a class without validation or test samples.

        Raises:
            InputError: if there is a single class, or one without training samples.
        """
        classes = set(samples[self.name])
        if len(classes) < 2:
            (only,) = classes
            raise InputError(f"the corpus holds only one {self.name} ({only!r}): at least two are needed.")
        for subset in SPLITS:
            absent = sorted(classes - set(samples.loc[samples["split"] == subset, self.name]))
            if absent and subset == "train":
                raise InputError(
                    f"no frame of {listed(absent)} is on the training side: add pictures, leave the class out, "
                    "or choose another split or split.seed."
                )
            if absent:
                log.warning(
                    "no frame of %s on the %s side: its recall cannot be measured there.", listed(absent), subset
                )
        self.class_names = sorted(classes)
        self.counts = np.bincount(self.values(samples[samples["split"] == "train"]), minlength=self.size)

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        return pd.Categorical(samples[self.name], categories=self.class_names).codes.astype(np.int64)

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """All classes are drawn equally often."""
        labels = self.values(samples)
        return 1.0 / np.bincount(labels, minlength=self.size)[labels]
