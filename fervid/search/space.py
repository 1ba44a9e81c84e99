"""The search space: settings with several values or an interval. This module has no heavy imports."""

from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from fervid.cli import compose
from fervid.cli.checks import check_files, check_packages, check_weights
from fervid.errors import InputError

if TYPE_CHECKING:
    import optuna


class SearchSpace:
    """The settings of a search: those to sample and those that are the same in all trials.

    Args:
        words: the settings as on the command line of a sweep.

    Attributes:
        words: the settings as on the command line of a sweep.
        fixed: the settings that are the same in all trials.

    Raises:
        InputError: if no setting has several values or an interval.
    """

    def __init__(self, words: list[str]):
        overrides = OverridesParser.create().parse_overrides(words)
        self.words = words
        self.fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self._varied = {override.get_key_element(): override for override in overrides if override.is_sweep_override()}
        if not self._varied:
            raise InputError("nothing to search: give several values for a setting, such as optimizer=sgd,adam.")

    def check(self) -> DictConfig:
        """Composes and checks one configuration for each value and for both ends of each interval.

        Returns:
            The configuration with the first value of every setting.

        Raises:
            InputError: if a value cannot be used, or a file does not exist.
        """
        first = {name: f"{name}={_ends(override)[0]}" for name, override in self._varied.items()}
        configs = []
        for name, override in self._varied.items():
            for value in _ends(override):
                configs.append(compose("train", [*self.fixed, *(first | {name: f"{name}={value}"}).values()]))
                check_files(configs[-1])
                check_weights(configs[-1])
                check_packages(configs[-1])
        return configs[0]

    def draw(self, trial: "optuna.Trial") -> list[str]:
        """Samples one value for each searched setting; returns ``name=value`` words."""
        return [f"{name}={_draw(trial, name, override)}" for name, override in self._varied.items()]


def _draw(trial: "optuna.Trial", name: str, override: Override) -> Any:
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return trial.suggest_categorical(name, list(override.sweep_string_iterator()))
    assert value.start is not None
    assert value.end is not None
    low, high, logarithmic = value.start, value.end, "log" in value.tags
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=logarithmic)
    return trial.suggest_float(name, low, high, log=logarithmic)


def _ends(override: Override) -> list[Any]:
    """Returns all values of a choice, or both ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(override.sweep_string_iterator())
