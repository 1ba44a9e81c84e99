"""Names of settings and options that do not exist, and the nearest ones that do."""

import difflib
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig

from fervid.cli.hydra_compose import compose_with_hydra
from fervid.cli.options import command_groups, options_by_group


def unknown_name(command: str, arguments: list[str]) -> str | None:
    """A sentence about the first override that names what is not there, with the nearest name that is.

    Args:
        command: the name of its primary configuration.
        arguments: its command line.

    Returns:
        None if all names are known, or the words cannot be read.
    """
    try:
        words = [word for word in arguments if "=" in word and not word.startswith("-")]
        overrides = OverridesParser.create().parse_overrides(words)
    except HydraException:
        return None
    options, groups = options_by_group(), command_groups(command)
    for override in overrides:
        name = override.key_or_group
        if name in options and name not in (*groups, "hydra"):
            return f"there is no {name} to choose here: give {', '.join(groups)}."
        if name in options:
            chosen = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
            for option in chosen:
                if isinstance(option, str) and option not in options[name]:
                    choices = f"choose {', '.join(options[name])}"
                    return (
                        f"there is no {name} {option!r}: {choices}.{_did_you_mean(option, options[name], f'{name}=')}"
                    )
        elif not name.startswith("hydra") and not override.is_add():
            settings = _settings(command, overrides, options)
            if name not in settings:
                swept = [each.key_or_group for each in overrides if each.is_sweep_override()]
                if swept and name in _settings(command, _with_first_choices(overrides), options):
                    return (
                        f"{name} is not known before the jobs of this sweep are told apart: write ++{name}=... (two "
                        "plus signs)."
                    )
                known = settings + list(options)
                extra = f" What else a class takes is given as +{name}=..." if name.split(".")[0] in options else ""
                return f"there is no setting {name!r}.{_did_you_mean(name, known)}{extra}"
    return None


def _with_first_choices(overrides: list[Override]) -> list[Override]:
    """A sweep's overrides as its first job has them."""
    words = [
        f"{each.get_key_element()}={next(iter(each.sweep_string_iterator()))}"
        if each.is_sweep_override() and each.is_discrete_sweep()
        else str(each.input_line)
        for each in overrides
    ]
    return OverridesParser.create().parse_overrides(words)


def _did_you_mean(name: str, known: list[str], prefix: str = "") -> str:
    # A setting may lack its group alone: batch_size for dataset.batch_size.
    near = [key for key in known if key.rsplit(".", 1)[-1] == name] or difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {prefix}{near[0]}?" if near else ""


def _settings(command: str, overrides: list[Override], options: dict[str, list[str]]) -> list[str]:
    """All settings of a command with those choices among the overrides that exist."""
    choices = [
        f"{override.key_or_group}={option}"
        for override in overrides
        for option in options.get(override.key_or_group, [])
        if not override.is_sweep_override() and override.value() == option
    ]
    config = compose_with_hydra(command, choices)
    return [name for name in _names(config) if not name.startswith("hydra")]


def _names(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted names of a configuration."""
    items = config.items_ex(resolve=False) if isinstance(config, DictConfig) else enumerate(config._iter_ex(False))
    for name, value in items:
        yield f"{prefix}{name!s}"
        if isinstance(value, DictConfig | ListConfig) and not value._is_none():
            yield from _names(value, f"{prefix}{name!s}.")
