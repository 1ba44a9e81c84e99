"""Targets besides the emotion: valence and arousal, action units, and several targets at once."""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.data.targets import ClassTarget
from fervid.errors import InputError, listed
from fervid.schema.columns import ACTION_UNIT, DIMENSIONS
from fervid.schema.manifest import SPLITS
from fervid.schema.parts import AFFECT, EMOTION, UNIT_COLUMN, UNITS, Part, unit_title

log = logging.getLogger(__name__)


class AffectTarget:
    """Valence and arousal, from the columns of these names; values are float32 (N, 2), NaN where unknown.

    Attributes:
        counts: None; other targets have counts, with which a loss can be balanced.
    """

    name = AFFECT
    size = len(DIMENSIONS)
    counts = None

    @property
    def parts(self) -> list[Part]:
        """The part of the task that this target is."""
        return [Part(AFFECT, DIMENSIONS)]

    def fit(self, samples: pd.DataFrame) -> None:
        """Checks the labels, and warns if some are missing.

        Raises:
            InputError: if the corpus has no valence or arousal, the training or validation subset has none, or a value
                is not a number from -1 to 1.
        """
        missing = [name for name in DIMENSIONS if name not in samples]
        if missing:
            raise InputError(
                f"the corpus has no column {missing[0]}: choose dataset=affectnet, dataset=synthetic, or a CSV with "
                f"the columns {' and '.join(DIMENSIONS)}."
            )
        _check_labelled(samples, self.values(samples), list(DIMENSIONS))

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        values = _numbers(samples, DIMENSIONS)
        _refuse(samples, values, DIMENSIONS, np.abs(values) > 1, "a number from -1 to 1")
        return values

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """Raises an InputError: there are no classes to balance."""
        raise InputError("valence and arousal have no classes to balance: leave dataset.sampler=shuffle.")


class ActionUnitTarget:
    """The presence of action units, from columns ``au_<number>``; values are float32 (N, U), NaN where unknown.

    Args:
        columns: the columns, if they are already known.

    Attributes:
        columns: the columns of the units, by increasing number, after :meth:`fit`.
        counts: number of training samples in which each unit is absent and present, shape (U, 2), after :meth:`fit`.
    """

    name = UNITS

    def __init__(self, columns: Sequence[str] = ()):
        self.columns = list(columns)
        self.counts: np.ndarray | None = None

    @property
    def size(self) -> int:
        return len(self.columns)

    @property
    def parts(self) -> list[Part]:
        """The part of the task that this target is."""
        return [Part(UNITS, tuple(self.columns))]

    def fit(self, samples: pd.DataFrame) -> None:
        """Collects the units. Those that are never or always present in the training subset are left out.

        Raises:
            InputError: if the corpus has no action units, a column or a label is invalid, the training or validation
                subset has no labels, or no unit can be learned.
        """
        found = [str(name) for name in samples if str(name).startswith(ACTION_UNIT)]
        wrong = [name for name in found if not UNIT_COLUMN.fullmatch(name)]
        if wrong:
            raise InputError(f"the column {wrong[0]} is not an action unit: write {ACTION_UNIT}4 for unit 4.")
        if not found:
            raise InputError(
                f"the corpus has no column {ACTION_UNIT}<number>: choose dataset=synthetic, or a CSV with a column for "
                "each action unit, such as au_12, with 1 where it is present and 0 where it is absent."
            )
        self.columns = sorted(found, key=lambda name: int(name.removeprefix(ACTION_UNIT)))
        values = self.values(samples)[(samples["split"] == "train").to_numpy()]
        counts = np.stack([(values == 0).sum(axis=0), (values == 1).sum(axis=0)], axis=1)
        is_usable = np.all(counts > 0, axis=1).tolist()
        if not any(is_usable):
            raise InputError(
                "no action unit is both present and absent in the training subset: choose another split or split.seed, "
                "or add pictures."
            )
        unused = [unit_title(name) for name, usable in zip(self.columns, is_usable, strict=True) if not usable]
        if unused:
            log.warning("%s cannot be learned and is left out: never or always present in training.", listed(unused))
        self.columns = [name for name, usable in zip(self.columns, is_usable, strict=True) if usable]
        self.counts = counts[is_usable]
        validated = self.values(samples)[(samples["split"] == "val").to_numpy()]
        if len(validated) and not (validated == 1).any():
            raise InputError(
                "no action unit is present in the validation subset, where F1 is undefined: choose another split "
                "or split.seed, or a larger validation subset."
            )
        _check_labelled(samples, self.values(samples), ["action units"])

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        values = _numbers(samples, self.columns)
        _refuse(samples, values, self.columns, ~np.isin(values, (0, 1)), "1 for present or 0 for absent")
        return values

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """Raises an InputError: several units can be present in the same sample."""
        raise InputError(
            "a sample has several action units, so that sampling cannot balance them: leave dataset.sampler=shuffle, "
            "and use task.loss.positive_weights=balanced."
        )


MEMBERS = {EMOTION: ClassTarget, AFFECT: AffectTarget, UNITS: ActionUnitTarget}
"""Target of each part of a task, by its name."""


class MultiTarget:
    """Several targets; values are float32 (N, K): the columns of their values next to each other.

    The column of the emotion has the index of the class.

    Args:
        members: the targets, in the order of the network's outputs.

    Attributes:
        members: the targets by their names.
    """

    name = "targets"

    def __init__(self, members: Sequence[ClassTarget | AffectTarget | ActionUnitTarget]):
        self.members = {member.name: member for member in members}

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members.values())

    @property
    def parts(self) -> list[Part]:
        """The parts of the task, in the order of the network's outputs."""
        return [part_of(member) for member in self.members.values()]

    def fit(self, samples: pd.DataFrame) -> None:
        """Fits all targets.

        Raises:
            InputError: if one of them cannot be learned.
        """
        for name, member in self.members.items():
            try:
                member.fit(samples)
            except InputError as error:
                others = [other for other in self.members if other != name]
                instead = f" Or leave it out: task.target.parts=[{','.join(others)}]." if others else ""
                raise InputError(f"{error}{instead}") from error

    def values(self, samples: pd.DataFrame) -> np.ndarray:
        columns = [member.values(samples).reshape(len(samples), -1) for member in self.members.values()]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def balancing_weights(self, samples: pd.DataFrame) -> np.ndarray:
        """Returns weights with which all emotions are drawn equally often.

        Raises:
            InputError: if the emotion is not one of the targets.
        """
        return self.members.get(EMOTION, next(iter(self.members.values()))).balancing_weights(samples)


def part_of(target: ClassTarget | AffectTarget | ActionUnitTarget) -> Part:
    """Returns the part of a task that a target is."""
    return Part(EMOTION, tuple(target.class_names)) if isinstance(target, ClassTarget) else target.parts[0]


def _numbers(samples: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Returns columns as float32 (N, D); NaN where a cell is empty.

    Raises:
        InputError: if a cell is not a number.
    """
    cells = samples[list(columns)]
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float32, copy=True)
    _refuse(samples, values, columns, np.isnan(values) & cells.notna().to_numpy(), "a number")
    return values


def _refuse(samples: pd.DataFrame, values: np.ndarray, columns: Sequence[str], wrong: np.ndarray, what: str) -> None:
    """Raises an InputError that names the first wrong cell; unknown values are never wrong unless the cell has text."""
    wrong = wrong & (~np.isnan(values) | samples[list(columns)].notna().to_numpy())
    if wrong.any():
        row, column = (int(each) for each in np.argwhere(wrong)[0])
        cell = samples[columns[column]].iloc[row]
        raise InputError(
            f"the clip {str(samples['clip'].iloc[row])!r} has {columns[column]}={cell}: give {what}, or leave the cell "
            "empty if it is unknown."
        )


def _check_labelled(samples: pd.DataFrame, values: np.ndarray, names: Sequence[str]) -> None:
    """Warns of samples without labels.

    Args:
        samples: n samples with their ``split``.
        values: labels (N, D).
        names: name of each column of the labels, or one name for all.

    Raises:
        InputError: if the training or validation subset has no label of a name.
    """
    known = ~np.isnan(values) if len(names) == values.shape[1] else ~np.isnan(values).all(axis=1, keepdims=True)
    for subset in SPLITS:
        chosen = (samples["split"] == subset).to_numpy()
        absent = [name for name, has_any in zip(names, known[chosen].any(axis=0), strict=True) if not has_any]
        if chosen.any() and absent and subset != "test":
            raise InputError(
                f"no sample of the {subset} subset has a label of {listed(absent)}: choose another split or "
                "split.seed, or a corpus with more labels."
            )
        if chosen.any() and absent:
            log.warning("the %s subset has no label of %s, which cannot be scored.", subset, listed(absent))
    unlabelled = int((~known.any(axis=1)).sum())
    if unlabelled:
        log.warning(
            "%d of %d samples have no label of %s: they are neither learned from nor scored.",
            *(unlabelled, len(samples), " or ".join(names)),
        )
