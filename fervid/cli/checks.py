"""Refuses settings of a wrong type and missing files before anything is loaded."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from fervid.cli.options import command_groups, option_files, options_by_group
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.roots import DEFAULT_FILE
from fervid.schema.same_system import PATH_ENDING
from fervid.schema.weights import ENDINGS

FILES = {
    "ckpt_path": "the last.ckpt of a run",
    "dataset.csv": "a CSV with the columns path, emotion and, if known, subject",
    "split.path": "a CSV with the columns split and path, clip or subject",
}


def check_files(config: DictConfig) -> None:
    """Checks that the corpus, tables and checkpoint in a configuration exist.

    Args:
        config: the configuration of a command; its ``choices``, if it has any, name the corpus.

    Raises:
        InputError: if the folder of the corpus is not given, or a file or folder does not exist.
    """
    moved = config.get("root")
    is_used = config.get("dataset") is None or config.get("identity") is not None
    if moved is not None and is_used and not Path(str(moved)).expanduser().exists():
        raise InputError(f"root={moved} does not exist: give the current path of the run's corpus.")
    for setting, expected in FILES.items():
        file = OmegaConf.select(config, setting)
        if file and not Path(str(file)).expanduser().is_file():
            raise InputError(f"{setting}={file} is not a file: give {expected}.")
    dataset = config.get("dataset")
    if dataset is None:
        return
    if isinstance(dataset.get("corpora"), DictConfig):
        for name, settings in dataset.corpora.items():
            _check_corpus(settings, f"dataset.corpora.{name!s}", str(name))
    else:
        _check_corpus(dataset, "dataset", str(OmegaConf.select(config, "choices.dataset") or dataset.get("_target_")))


def _check_corpus(settings: DictConfig, prefix: str, name: str) -> None:
    for key, path in settings.items():
        if prefix != "dataset" and key == "csv" and path and not Path(str(path)).expanduser().is_file():
            raise InputError(f"{prefix}.csv={path} is not a file: give {FILES['dataset.csv']}.")
        if str(key).endswith(PATH_ENDING) and path and not Path(str(path)).expanduser().exists():
            raise InputError(f"{prefix}.{key!s}={path} does not exist: give a file or folder.")
    if "root" not in settings:
        return
    root, can_be_fetched = settings.root, "repo" in settings
    if root is None and not can_be_fetched:
        if prefix != "dataset":
            raise InputError(
                f"{prefix} has no root: give its folder as {{{name}:{{root:<folder>}}}} in dataset.corpora, or as a "
                f"line {name}: <folder> in the file of roots ({DEFAULT_FILE} or FERVID_ROOTS)."
            )
        raise InputError(f"dataset={name} needs dataset.root=<folder>: give the folder of the corpus.")
    place = None if root is None else Path(str(root)).expanduser()
    is_zip = place is not None and place.suffix.lower() == ".zip" and place.is_file()
    if place is not None and not is_zip and not (place.exists() if can_be_fetched else place.is_dir()):
        kind = "file or folder" if can_be_fetched else "folder"
        raise InputError(f"{prefix}.root={root} is not a {kind}: give the {kind} of the corpus.")


def check_weights(config: DictConfig) -> None:
    """Checks that the files of weights exist, which a finished run no longer needs.

    Raises:
        InputError: if a file does not exist.
    """
    for setting in ("backbone.weights", "identity.backbone.weights"):
        weights = OmegaConf.select(config, setting)
        if weights and Path(str(weights)).suffix in ENDINGS and not Path(str(weights)).expanduser().is_file():
            raise InputError(f"{setting}={weights} is not a file: give the path of a state dict, or a name.")


def check_packages(config: DictConfig) -> None:
    """Checks that the packages of the classes in a configuration are found, without importing them.

    Raises:
        InputError: with the name of the first package that is not found.
    """
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    for name in [*_values(content, "_target_"), *_values(content.get("dataset"), "corpus")]:
        package = name.partition(".")[0]
        if package.isidentifier() and package not in sys.modules and importlib.util.find_spec(package) is None:
            raise InputError(f"{package} cannot be imported: install the package, or add its folder to PYTHONPATH.")


def _values(content: Any, setting: str) -> Iterator[str]:
    """Yields the texts that a setting has at any depth."""
    if isinstance(content, dict) and isinstance(content.get(setting), str):
        yield content[setting]
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _values(part, setting)


def check_types(config: DictConfig, command: str) -> None:
    """Checks that overrides are numbers, whole numbers or lists where the default in the yaml file is one.

    Args:
        config: the configuration with its ``choices`` and ``overrides``.
        command: name of its primary configuration.

    Raises:
        InputError: with the name and value of the setting and its default.
    """
    options = options_by_group()
    names = [override.key_or_group for override in OverridesParser.create().parse_overrides(list(config.overrides))]
    settings = [name for name in names if name not in options]
    if not settings:
        return
    defaults = _defaults(command, config.choices)
    for name in settings:
        default = OmegaConf.select(defaults, name, throw_on_missing=False, throw_on_resolution_failure=False)
        given = OmegaConf.select(config, name, throw_on_missing=False)
        if given is None and name.endswith("patience"):
            continue  # null: no early stopping
        if isinstance(default, ListConfig) and not isinstance(given, ListConfig):
            raise InputError(f"{name}={given} is not a list: give a list such as the default, {default}.")
        if isinstance(default, int | float) and not isinstance(default, bool):
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise InputError(f"{name}={given} is not a number: the default is {default}.")
            if isinstance(default, int) and not float(given).is_integer():
                raise InputError(f"{name}={given} is not a whole number: the default is {default}.")


def _defaults(command: str, choices: DictConfig) -> DictConfig:
    """Merges the yaml files of a command and of the chosen options; later files override earlier ones."""
    files = [(Path(CONFIG_FOLDER, f"{command}.yaml"), "")]
    files += [(file, group) for group in command_groups(command) for file in option_files(group, choices.get(group))]
    merged: DictConfig | ListConfig = OmegaConf.create()
    for file, group in files:
        content = OmegaConf.load(file)
        is_global = not group or "@package _global_" in file.read_text(encoding="utf-8")
        merged = OmegaConf.merge(merged, content if is_global else {group: content})
    assert isinstance(merged, DictConfig)
    return merged
