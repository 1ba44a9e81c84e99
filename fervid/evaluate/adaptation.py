"""What an evaluation adapts to its samples without their labels: the classes, or the normalisation of the network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, ListConfig

from fervid.errors import InputError

METHODS = {
    "class_prior": "class prior",
    "batch_norm": "BatchNorm",
    "entropy": "entropy",
}
"""The adaptations by the value of ``adapt``, with their names in reports."""
FLOOR = 1e-12  # smaller mean probabilities are raised to it


@dataclass(frozen=True)
class Adaptation:
    """An adaptation of a run to the samples of an evaluation.

    Attributes:
        method: one of :data:`METHODS`.
        settings: its settings, which the results record.
    """

    method: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def changes_network(self) -> bool:
        """Whether the network is changed, instead of its probabilities."""
        return self.method != "class_prior"

    def name(self, run: str) -> str:
        """Returns the name of the adapted run in reports."""
        return f"{run} + {METHODS[self.method]}"


def chosen_adaptations(config: DictConfig, members: int) -> list[Adaptation]:
    """Returns the adaptations of ``adapt``, each once.

    Args:
        config: configuration composed from ``conf/evaluate.yaml``.
        members: number of runs and tables that are evaluated.

    Raises:
        InputError: if an adaptation is unknown, a setting is out of range, or there are several members.
    """
    given = list(config.adapt) if isinstance(config.adapt, ListConfig) else [config.adapt]
    chosen = list(dict.fromkeys(name for name in given if name is not None))
    unknown = [name for name in chosen if name not in METHODS]
    if unknown:
        raise InputError(f"adapt={unknown[0]} is unknown: choose {', '.join(METHODS)}, or a list of them.")
    if chosen and members > 1:
        raise InputError(
            f"adapt={chosen[0]} adapts a single run, but {members} members are given: evaluate each run by itself."
        )
    lr, passes = config.entropy.lr, config.entropy.passes
    if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr < 1:
        raise InputError(f"entropy.lr={lr} is out of range: use a number between 0 and 1, such as 0.001.")
    if not isinstance(passes, int) or isinstance(passes, bool) or not 1 <= passes <= 100:
        raise InputError(f"entropy.passes={passes} is out of range: use a whole number from 1 to 100.")
    settings = {
        "class_prior": {},
        "batch_norm": {"seed": config.seed},
        "entropy": {"lr": float(lr), "passes": passes, "seed": config.seed},
    }
    return [Adaptation(name, settings[name]) for name in chosen]


def divide_by_prior(probabilities: np.ndarray, clips: Sequence[Any] | pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Divides probabilities by their mean over all samples, and normalises them.

    A model that was trained on unbalanced classes, or meets other pictures, favours some classes. The result favours
    none: it is that of Bayes' rule if the mean probabilities are the model's class prior and the classes are equally
    frequent in the samples.

    Args:
        probabilities: shape (N, C).
        clips: name of the clip of each sample; every clip has the same weight in the mean.

    Returns:
        Probabilities (N, C), and the mean probabilities (C,).

    Examples:
        >>> import numpy as np
        >>> found, prior = divide_by_prior(np.array([[0.9, 0.1], [0.7, 0.3]]), ["a", "b"])
        >>> prior.round(2).tolist(), found.round(2).tolist()
        ([0.8, 0.2], [[0.69, 0.31], [0.37, 0.63]])
    """
    numbers = pd.factorize(np.asarray(clips, dtype=object))[0]
    weights = 1 / np.bincount(numbers)[numbers]
    prior = np.average(probabilities, axis=0, weights=weights)
    divided = probabilities / np.maximum(prior, FLOOR)
    return divided / divided.sum(axis=1, keepdims=True), prior
