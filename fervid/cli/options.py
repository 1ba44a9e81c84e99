"""The options that the yaml files offer, those in the folder of ``--config-dir`` included.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fervid.schema.config_folder import CONFIG_FOLDER, config_folders


def options_by_group() -> dict[str, list[str]]:
    """The options of each group."""
    files = [file for folder in config_folders() for file in Path(folder).glob("*/[!_]*.yaml")]
    groups = sorted({file.parent.name for file in files})
    return {group: sorted({file.stem for file in files if file.parent.name == group}) for group in groups}


def option_files(group: str, option: object) -> list[Path]:
    """The yaml file of an option, after those of its group that its defaults name, such as ``_files``; [] if none."""
    places = [Path(folder, group, f"{option}.yaml") for folder in config_folders()]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return []
    content = OmegaConf.load(file)
    defaults = content.get("defaults", []) if isinstance(content, DictConfig) else []
    named = [each for each in defaults if isinstance(each, str) and each != "_self_"]
    return [*(each for name in named for each in option_files(group, name)), file]


def command_groups(command: str) -> list[str]:
    """The groups of options that a command has, in the order of its defaults list."""
    own = OmegaConf.load(f"{CONFIG_FOLDER}/{command}.yaml")
    groups = [str(name) for choice in own.defaults if isinstance(choice, DictConfig) for name in choice]
    return [name for name in groups if not name.startswith("override")]


def corpora_of_files() -> list[str]:
    """The options of ``dataset`` that are read from files; others are rendered."""
    files = {name: option_files("dataset", name) for name in options_by_group()["dataset"]}
    has_root = re.compile(r"^\s*root:", re.MULTILINE)
    return [name for name, each in files.items() if any(has_root.search(file.read_text("utf-8")) for file in each)]
