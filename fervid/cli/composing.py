"""Configurations as the commands see them, also without a command: for notebooks, tests and the search.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fervid.cli.overrides import as_typed, escaped, how_to_quote, quoted
from fervid.schema.config_folder import CONFIG_FOLDER, config_folders
from fervid.schema.errors import InputError

GLOBALS = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)  # in which Hydra keeps what runs


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
    """
    from fervid.cli.checks import check_types
    from fervid.cli.limits import check_limits
    from fervid.cli.mistakes import what_hydra_says
    from fervid.cli.unknown_names import unknown_name

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


def compose_with_hydra(command: str, words: Sequence[str]) -> DictConfig:
    """The configuration of a command with its node ``hydra``; Hydra's global state stays as it is.

    Raises:
        HydraException, OmegaConfBaseException: if something cannot be composed.
    """
    own = [quoted(f"file://{folder}") for folder in config_folders()[1:]]
    if own and not any(word.startswith("hydra.searchpath=") for word in words):
        words = [*words, f"hydra.searchpath=[{','.join(own)}]"]
    with _hydra_unchanged(), hydra.initialize_config_dir(CONFIG_FOLDER, job_name=command, version_base="1.3"):
        config = hydra.compose(command, list(words), return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    return config


@contextmanager
def _hydra_unchanged() -> Iterator[None]:
    """Gives Hydra fresh singletons, then puts back its own: a running application reads them for every job."""
    before: dict[type, Singleton] = {
        kind: Singleton._instances.pop(kind) for kind in GLOBALS if kind in Singleton._instances
    }
    try:
        yield
    finally:
        for kind in GLOBALS:
            Singleton._instances.pop(kind, None)
        Singleton._instances.update(before)


def options_by_group() -> dict[str, list[str]]:
    """The options of each group, those in the folder of ``--config-dir`` included."""
    files = [file for folder in config_folders() for file in Path(folder).glob("*/*.yaml")]
    groups = sorted({file.parent.name for file in files})
    return {group: sorted({file.stem for file in files if file.parent.name == group}) for group in groups}


def option_file(group: str, option: object) -> Path | None:
    """The yaml file of an option; None if there is none."""
    files = [Path(folder, group, f"{option}.yaml") for folder in config_folders()]
    return next((file for file in files if file.is_file()), None)


def corpora_of_files() -> list[str]:
    """The options of ``dataset`` that are read from files; others are rendered."""
    files = {name: option_file("dataset", name) for name in options_by_group()["dataset"]}
    return [name for name, file in files.items() if file and re.search(r"^\s*root:", file.read_text(), re.MULTILINE)]
