"""Composes the configuration of a command without running it: for notebooks, tests and the search.

This module has no heavy imports, so that ``--help`` responds immediately.
"""

from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from fervid.cli.checks import check_types
from fervid.cli.corpora import complete_corpora
from fervid.cli.hydra_compose import compose_with_hydra
from fervid.cli.limits import check_limits
from fervid.cli.mistakes import hydra_message
from fervid.cli.options import options_by_group
from fervid.cli.overrides import as_typed, escaped, how_to_quote
from fervid.cli.unknown_names import unknown_name
from fervid.errors import InputError


def compose(command: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """Composes the configuration of a command, as from its command line.

    Hydra's global state is unchanged afterwards, so this can be called in a notebook, in a worker process, and while a
    Hydra application is running.

    Args:
        command: name of a command with a configuration, such as ``train``, ``baseline`` or ``report``.
        overrides: words of its command line, such as ``optimizer=sgd`` and ``dataset.batch_size=16``, with one value
            each.

    Returns:
        The configuration with two additional entries: ``choices``, the option chosen in each group, and ``overrides``,
        the words.

    Raises:
        InputError: if a name or value is unknown, or a value has the wrong type or is out of range.

    Examples:
        >>> config = compose("train", ["backbone=lenet", "optimizer=sgd", "dataset.batch_size=16"])
        >>> config.dataset.batch_size, config.choices.optimizer
        (16, 'sgd')
    """
    words = as_typed(overrides)
    try:
        config = compose_with_hydra(command, words)
    except (HydraException, OmegaConfBaseException) as error:
        typed = dict(zip(words, overrides, strict=True))
        sentence = how_to_quote(error, typed) or unknown_name(command, words) or hydra_message(error)
        raise InputError(sentence) from error
    choices = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    add_command_line(config, choices, words)
    check_types(config, command)
    complete_corpora(config)
    check_limits(config)
    return config


def add_command_line(config: DictConfig, choices: Mapping[str, str | None], overrides: Sequence[str]) -> None:
    """Adds the entries ``choices`` and ``overrides`` to a configuration.

    Args:
        config: the configuration of a command.
        choices: the option chosen in each group with a single one; Hydra's own groups are omitted.
        overrides: words of the command line.
    """
    # Hydra leaves out groups with several options, such as recipe=[warmup_cosine,mixup].
    groups, several = options_by_group(), {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        options = override.value()
        if override.key_or_group in groups and isinstance(options, list):
            several[override.key_or_group] = f"[{','.join(map(str, options))}]"
    with open_dict(config):
        config.choices = several | {
            str(group): name for group, name in choices.items() if not str(group).startswith("hydra")
        }
        config.overrides = [escaped(word) for word in overrides]  # otherwise OmegaConf would resolve ${...}
