"""The options that the yaml files offer, those in the folder of ``--config-dir`` included.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fervid.schema.config_folder import CONFIG_FOLDER, config_folders


def options_by_group() -> dict[str, list[str]]:
    """The options of each group."""
    files = [file for folder in config_folders() for file in Path(folder).glob("*/*.yaml")]
    groups = sorted({file.parent.name for file in files})
    return {group: sorted({file.stem for file in files if file.parent.name == group}) for group in groups}


def option_file(group: str, option: object) -> Path | None:
    """The yaml file of an option; None if there is none."""
    files = [Path(folder, group, f"{option}.yaml") for folder in config_folders()]
    return next((file for file in files if file.is_file()), None)


def command_groups(command: str) -> list[str]:
    """The groups of options that a command has, in the order of its defaults list."""
    own = OmegaConf.load(f"{CONFIG_FOLDER}/{command}.yaml")
    groups = [str(name) for choice in own.defaults if isinstance(choice, DictConfig) for name in choice]
    return [name for name in groups if not name.startswith("override")]


def corpora_of_files() -> list[str]:
    """The options of ``dataset`` that are read from files; others are rendered."""
    files = {name: option_file("dataset", name) for name in options_by_group()["dataset"]}
    return [name for name, file in files.items() if file and re.search(r"^\s*root:", file.read_text(), re.MULTILINE)]
