"""Configurations as the commands see them, also without a command: for notebooks, tests and the search.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from collections.abc import Mapping, Sequence

from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from fervid.cli.checks import check_types
from fervid.cli.hydra_compose import compose_with_hydra
from fervid.cli.limits import check_limits
from fervid.cli.mistakes import what_hydra_says
from fervid.cli.overrides import as_typed, escaped, how_to_quote
from fervid.cli.unknown_names import unknown_name
from fervid.errors import InputError


def compose(command: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of a command, as its command line gives it.

    Hydra's global state is as before afterwards: this may be called in a notebook, in a worker process, and while a
    Hydra application runs.

    Args:
        command: name of a command with a configuration, such as ``train``, ``baseline`` or ``report``.
        overrides: words of its command line, such as ``optimizer=sgd`` and ``dataset.batch_size=16``; one value each.

    Returns:
        The configuration with two more entries: ``choices``, the option chosen in each group, and ``overrides``, the
        words.

    Raises:
        InputError: if a name or a value is unknown, or a number is missing where there should be one.

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
        sentence = how_to_quote(error, typed) or unknown_name(command, words) or what_hydra_says(error)
        raise InputError(sentence) from error
    choices = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    add_command_line(config, choices, words)
    check_types(config, command)
    check_limits(config)
    return config


def add_command_line(config: DictConfig, choices: Mapping[str, str | None], overrides: Sequence[str]) -> None:
    """Adds the entries ``choices`` and ``overrides`` to a configuration.

    Args:
        config: of a command.
        choices: the option chosen in each group; those of Hydra's own groups are left out.
        overrides: words of the command line.
    """
    with open_dict(config):
        config.choices = {str(group): name for group, name in choices.items() if not str(group).startswith("hydra")}
        config.overrides = [escaped(word) for word in overrides]  # or OmegaConf would look for what ${...} means
