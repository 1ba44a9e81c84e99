"""What a search varies: settings with several values or an interval. Nothing heavy is imported here."""

from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from fervid.cli import compose
from fervid.cli.checks import check_files
from fervid.errors import InputError

if TYPE_CHECKING:
    import optuna


class SearchSpace:
    """Settings to draw, and those that stay.

    Args:
        words: as of a sweep's command line.

    Attributes:
        words: the same.
        fixed: those of them that are the same in all trials.

    Raises:
        InputError: if nothing varies.
    """

    def __init__(self, words: list[str]):
        overrides = OverridesParser.create().parse_overrides(words)
        self.words = words
        self.fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        self._varied = {each.get_key_element(): each for each in overrides if each.is_sweep_override()}
        if not self._varied:
            raise InputError("nothing to search: give several values of a setting, such as optimizer=sgd,adam.")

    def check(self) -> DictConfig:
        """Composes a configuration with each value, and with both ends of each interval.

        Returns:
            The one with the first value of each.

        Raises:
            InputError: if a value cannot be used, or a file is not there.
        """
        first = {name: f"{name}={_ends(override)[0]}" for name, override in self._varied.items()}
        configs = []
        for name, override in self._varied.items():
            for value in _ends(override):
                configs.append(compose("train", [*self.fixed, *(first | {name: f"{name}={value}"}).values()]))
                check_files(configs[-1])
        return configs[0]

    def draw(self, trial: "optuna.Trial") -> list[str]:
        """Words with one value for each setting that varies."""
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
    """All values of a choice, both ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return list(override.sweep_string_iterator())
