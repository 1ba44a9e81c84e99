"""Finds misspelt names of settings and options and suggests the closest existing names."""

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
    """Describes the first unknown name on a command line, with the closest existing name.

    Args:
        command: name of its primary configuration.
        arguments: its command line.

    Returns:
        One sentence; None if all names are known, or the words cannot be parsed.
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
            return f"this command has no group {name}: choose from {', '.join(groups)}."
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
                is_sweep = any(other.is_sweep_override() for other in overrides)
                if is_sweep and name in _settings(command, _with_first_choices(overrides), options):
                    return (
                        f"{name} exists only for options that this sweep varies: write ++{name}=... (two plus signs)."
                    )
                known = settings + list(options)
                group = name.split(".")[0]
                extra = f" To pass another argument to the class, write +{name}=..." if group in options else ""
                return f"there is no setting {name!r}.{_did_you_mean(name, known)}{extra}"
    return None


def _with_first_choices(overrides: list[Override]) -> list[Override]:
    """Returns the overrides of a sweep's first job."""
    words = [
        f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
        if override.is_sweep_override() and override.is_discrete_sweep()
        else str(override.input_line)
        for override in overrides
    ]
    return OverridesParser.create().parse_overrides(words)


def _did_you_mean(name: str, known: list[str], prefix: str = "") -> str:
    # Only the group may be missing: batch_size for dataset.batch_size.
    near = [key for key in known if key.rsplit(".", 1)[-1] == name] or difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {prefix}{near[0]}?" if near else ""


def _settings(command: str, overrides: list[Override], options: dict[str, list[str]]) -> list[str]:
    """Returns all settings of a command with the existing options among the overrides."""
    choices = [
        f"{override.key_or_group}={option}"
        for override in overrides
        for option in options.get(override.key_or_group, [])
        if not override.is_sweep_override() and override.value() == option
    ]
    config = compose_with_hydra(command, choices)
    return [name for name in _names(config) if not name.startswith("hydra")]


def _names(config: Any, prefix: str = "") -> Iterator[str]:
    """Yields all dotted names of a configuration."""
    items = config.items_ex(resolve=False) if isinstance(config, DictConfig) else enumerate(config._iter_ex(False))
    for name, value in items:
        yield f"{prefix}{name!s}"
        if isinstance(value, DictConfig | ListConfig) and not value._is_none():
            yield from _names(value, f"{prefix}{name!s}.")
