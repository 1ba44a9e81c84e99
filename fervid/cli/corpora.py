"""Completes the settings of corpora: the settings of each of several corpora, and roots from the user's file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fervid.cli.options import option_files, options_by_group
from fervid.errors import InputError, listed
from fervid.schema.roots import read_roots


def complete_corpora(config: DictConfig) -> None:
    """Fills in the settings of several corpora from the yaml files of their options, and roots that are not given.

    Args:
        config: the configuration of a command; changed in place.

    Raises:
        InputError: if a corpus or a setting of it is unknown, or the file of roots cannot be read.
    """
    dataset = config.get("dataset")
    if not isinstance(dataset, DictConfig):
        return
    roots = read_roots()
    with open_dict(config):
        if "corpora" in dataset:
            dataset.corpora = _completed(dataset, roots)
        elif "root" in dataset and dataset.root is None:
            dataset.root = roots.get(str(OmegaConf.select(config, "choices.dataset")))


def _completed(several: DictConfig, roots: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings of each corpus; those that apply to all corpora are omitted."""
    given = several.corpora
    if isinstance(given, ListConfig):
        names = [str(name) for name in given]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"dataset.corpora={names} has {twice[0]} twice: give each corpus once.")
        given = dict.fromkeys(names)
    if not isinstance(given, Mapping):
        raise InputError(
            f"dataset.corpora={'null' if given is None else given} is not a list of corpora: give "
            "dataset.corpora=[ferplus,ravdess], or a mapping with settings, {ferplus:{root:A},ravdess:{root:B}}."
        )
    return {str(name): _settings(str(name), settings, set(several), roots) for name, settings in given.items()}


def _settings(name: str, given: Any, common: set[str], roots: Mapping[str, str]) -> dict[str, Any]:
    if not (given is None or isinstance(given, DictConfig)):
        raise InputError(f"dataset.corpora.{name}={given} is not a mapping: give settings such as {{root:{given}}}.")
    content = OmegaConf.to_container(given) if isinstance(given, DictConfig) else {}
    assert isinstance(content, dict)
    settings = {str(key): value for key, value in content.items()}
    if "_target_" in settings:  # already complete
        return {"_partial_": True, **settings}
    option = str(settings.pop("dataset", name))
    files = option_files("dataset", option)
    options = [each for each in options_by_group()["dataset"] if each != "several"]
    if not files or option not in options:
        raise InputError(
            f"dataset.corpora.{name} has the unknown dataset {option!r}: choose {', '.join(options)}; a name of your "
            "own needs one, such as {" + name + ":{dataset:image_folder,root:A}}."
        )
    own = {key: value for file in files for key, value in _dataset(file).items()}
    known = {key: value for key, value in own.items() if key == "_target_" or key not in common}
    for key in settings:
        if key not in known:
            others = listed(sorted(set(known) - {"_target_"}))
            why = "applies to all corpora: give dataset." + key if key in common else "is unknown"
            raise InputError(f"dataset.corpora.{name}.{key} {why}. Settings of {option}: {others}.")
    merged = {**known, **settings}
    if "root" in merged and merged["root"] is None:
        merged["root"] = roots.get(name)
    return {"_partial_": True, **merged}


def _dataset(file: Path) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(content, dict)
    found = content.get("dataset", content)
    return {str(key): value for key, value in found.items() if key not in ("defaults", "detector")}
