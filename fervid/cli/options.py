"""Lists the options defined by yaml files, including those in the folder of ``--config-dir``.

This module has no heavy imports, so that ``--help`` responds immediately.
"""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fervid.schema.config_folder import CONFIG_FOLDER, config_folders


def options_by_group() -> dict[str, list[str]]:
    """Returns the options of each group."""
    files = [file for folder in config_folders() for file in Path(folder).glob("*/[!_]*.yaml")]
    groups = sorted({file.parent.name for file in files})
    return {group: sorted({file.stem for file in files if file.parent.name == group}) for group in groups}


def option_files(group: str, option: object) -> list[Path]:
    """Returns the yaml file of an option, preceded by the files in its defaults list; [] if there is none."""
    candidates = [Path(folder, group, f"{option}.yaml") for folder in config_folders()]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        return []
    content = OmegaConf.load(file)
    defaults = content.get("defaults", []) if isinstance(content, DictConfig) else []
    names = [name for name in defaults if isinstance(name, str) and name != "_self_"]
    return [*(path for name in names for path in option_files(group, name)), file]


def command_groups(command: str) -> list[str]:
    """Returns the groups of options of a command, in the order of its defaults list."""
    own = OmegaConf.load(f"{CONFIG_FOLDER}/{command}.yaml")
    groups = [str(name) for choice in own.defaults if isinstance(choice, DictConfig) for name in choice]
    return [name for name in groups if not name.startswith("override")]


def corpora_of_files() -> list[str]:
    """Returns the options of ``dataset`` that are read from files; the others are rendered."""
    files = {name: option_files("dataset", name) for name in options_by_group()["dataset"]}
    has_root = re.compile(r"^\s*root:", re.MULTILINE)
    return [name for name, paths in files.items() if any(has_root.search(path.read_text("utf-8")) for path in paths)]
