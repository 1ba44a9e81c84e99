"""Completes names, options and values of settings in a shell; argcomplete talks to the shell."""

from collections.abc import Iterator
from typing import Any

from argcomplete.completers import FilesCompleter
from omegaconf import OmegaConf, open_dict

from fervid.cli.hydra_compose import compose_with_hydra
from fervid.cli.options import command_groups, options_by_group

# The last parts of the names of settings that contain a path, and their endings.
PATHS = ("root", "csv", "path", "run", "runs", "source", "folder", "ckpt_path", "weights")
PATH_ENDINGS = ("_path", "_dir")


def complete_setting(command: str, typed: str, words: list[str]) -> list[str]:
    """Returns the settings of a command that begin with the typed text.

    File names are offered for settings that contain a path; for other settings, the default value.

    Args:
        command: name of its primary configuration.
        typed: the beginning of ``name=value``; a value may be the last of several: ``optimizer=sgd,ad`` or
            ``callbacks=[first,sec``.
        words: the other words of the command line; the settings of the options that they choose are completed too.
    """
    options, groups = options_by_group(), command_groups(command)
    name, equals, value = typed.partition("=")
    start = max(value.rfind(","), value.rfind("[")) + 1
    earlier, last = value[:start], value[start:]
    if equals and name in groups:
        return [f"{name}={earlier}{option}" for option in options[name] if option.startswith(last)]
    pairs = [(word, *word.partition("=")[::2]) for word in words]
    chosen = [word for word, group, option in pairs if group in groups and option in options[group]]
    config = compose_with_hydra(command, chosen)
    with open_dict(config):
        del config["hydra"]
    settings = dict(_leaves(OmegaConf.to_container(config)))
    if not equals:
        names = [*groups, *(setting for setting in settings if setting not in groups)]
        return [f"{each}=" for each in names if each.startswith(typed)]
    if name not in settings:
        return []
    default, own_name = settings[name], name.rpartition(".")[2]
    if own_name in PATHS or own_name.endswith(PATH_ENDINGS):
        values = FilesCompleter()(last)
    elif isinstance(default, bool):
        values = ["true", "false"]
    elif isinstance(default, int | float | str) and "${" not in str(default):  # not a reference to another setting
        values = [str(default)]
    else:
        values = []
    return [f"{name}={earlier}{each}" for each in values if each.startswith(last)]


def _leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted names and values of settings; a list of numbers or words is one value."""
    if isinstance(content, dict) or (isinstance(content, list) and any(isinstance(item, dict) for item in content)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for name, value in items:
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif not prefix.endswith(("_target_", "_partial_")):
        yield prefix, content
