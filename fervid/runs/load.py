"""Opens run folders, including untrusted ones: nothing in a run folder can choose which code is executed."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pandas as pd
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from fervid.corpora.corpus import Corpus
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError, first_line, listed, reason
from fervid.models.lora import ADDITION
from fervid.models.weight_files import read_checkpoint
from fervid.runs.build import ENCODERS, make_datamodule, make_network, task_class
from fervid.runs.run import read_run
from fervid.runs.trust import Trust, is_in, trusted_packages
from fervid.schema.columns import FRAME_KEY
from fervid.schema.config_folder import config_folders
from fervid.schema.parts import AFFECT, CLASSIFICATION, MULTI, UNITS
from fervid.schema.roots import read_roots
from fervid.tasks.classification import EmotionClassifier
from fervid.tasks.task import Task

HUB = ("hf_hub:", "hf-hub:")  # timm's prefixes of models on the Hugging Face hub
IMPORTED = {"dataset": ("_target_", "corpus")}  # settings of a group whose values are imported; others: _target_
INSTRUCTIONS = ("_target_", "_partial_", "_convert_", "_recursive_")  # keywords of Hydra; _args_ could name any code
# Groups of a stored configuration that build the network.
NETWORK = (
    *("task", "sample", "backbone", "sound_encoder", "feature_encoder", "pooling", "fusion", "head", "detector"),
)
CORPUS = ("task", "sample", "dataset", "detector", "split")  # groups that open the corpus
MAPPINGS = ("task", "sample", "dataset", "split", "head")  # groups that must be mappings if a run has them
BASES = (nn.Module, Corpus, EmotionDataModule)  # classes that the code of a trusted package may extend
METHODS = ("find", "table")  # or one of these: of a detector, of a sample


def load_run(folder: str | Path, checkpoint: str = "best", *, trust: Trust = ()) -> Task:
    """Loads the trained network of a run: a classifier, or a task of your own.

    Args:
        folder: run folder.
        checkpoint: ``best`` or ``last``.
        trust: packages whose classes the run may use, such as ``("my_package",)``. By default only fervid's own
            classes are called, whatever the run folder refers to.

    Returns:
        The task in ``eval()`` mode on the CPU. A classifier maps float pictures (B, 3, H, W) in [0, 1], where H and W
        are its ``backbone.image_size``, to logits (B, num_classes) in the order of its ``class_names``.

    Raises:
        InputError: if the folder contains no finished run, or its files are damaged or inconsistent.
    """
    folder = Path(folder).expanduser()
    run = read_run(folder)
    results = run.results
    for group, settings in results.get("encoder_settings", {}).items():  # before the configuration is checked
        results["config"][group] = {**(results["config"].get(group) or {}), **settings}
    config = stored_config(results, folder, trust=trust)
    if "head" not in config:
        raise InputError(f"{folder} is a run of the classical baseline and has no network: give another run.")
    if (results["config"].get("finetune") or {}).get("subject_normalisation"):
        raise InputError(
            f"the features of {folder} were normalised by subject, which a single picture or sound does not allow: "
            "give a run with finetune.subject_normalisation=false."
        )
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    try:
        state = read_checkpoint(path)
    except InputError as error:
        raise InputError(f"the {checkpoint} checkpoint of {folder} cannot be read: {error}.") from error
    mismatch = f"the {checkpoint} checkpoint of {folder} does not match its configuration."
    weights = state.get("state_dict") if isinstance(state, dict) else None
    if not isinstance(weights, dict):
        raise InputError(mismatch)
    try:
        for group in ENCODERS.values():
            _forbid_downloads(config.get(group), trust)
            if config.get(group) and not any(ADDITION in str(name) for name in weights):
                config[group].pop("lora", None)  # it was merged into the weights
        target = task_class(config).stored_target(results)
        network = make_network(config, target.size, results["data"].get("features") or [])
        config.task.pop("loss", None)  # not needed without training
        model: Task = instantiate(config.task, network=network, target=target)
    except Exception as error:  # an untrusted configuration may contain anything
        raise InputError(f"the network of {folder} cannot be built from its configuration: {reason(error)}.") from error
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise InputError(mismatch) from error
    not_finite = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if not_finite:
        raise InputError(
            f"the {checkpoint} checkpoint of {folder} contains weights that are not finite ({not_finite[0]}"
            f"{f' and {len(not_finite) - 1} more' if not_finite[1:] else ''}): train the network again."
        )
    return model.eval()


def _forbid_downloads(node: Any, trust: Trust) -> None:
    """Removes the names of weights, which the checkpoint replaces, from a backbone's configuration at any depth.

    Raises:
        InputError: if the configuration names a network on the Hugging Face hub, whose configuration timm would
            download, and the user does not trust timm with it.
    """
    if isinstance(node, ListConfig):
        for each in node:
            _forbid_downloads(each, trust)
    if not isinstance(node, DictConfig):
        return
    for key in list(node):
        if key == "weights" and isinstance(node[key], str):
            node[key] = None
        elif isinstance(node[key], str) and node[key].startswith(HUB) and "timm" not in trusted_packages(trust):
            raise InputError(f"it would download {node[key]}: allow it with trust=timm")
        else:
            _forbid_downloads(node[key], trust)


def load_task(folder: Path, *, trust: Trust = (), of_pictures: bool = True) -> Task:
    """Loads the trained network of a run that predicts parts (:attr:`fervid.runs.run.Run.parts`).

    Args:
        folder: run folder.
        trust: packages whose classes the run may use.
        of_pictures: whether the run must predict single pictures.

    Raises:
        InputError: if :func:`load_run` raises it, or the run was trained on another task or on other samples.
    """
    run = read_run(folder)
    if not run.parts:
        raise InputError(
            f"{folder} is a run of the task {run.task}, whose outputs have no names: give a run of {CLASSIFICATION}, "
            f"{AFFECT}, {UNITS} or {MULTI}."
        )
    if of_pictures and not run.classifies_pictures:
        raise InputError(
            f"{folder} classifies clips ({', '.join(run.modalities)}), not single pictures: use "
            "fervid.predict.window_predictor.WindowPredictor or the command fervid.predict."
        )
    model = load_run(folder, trust=trust)
    if list(model.parts) != run.parts:
        raise InputError(
            f"the task of {folder} is a {type(model).__name__}, which does not predict what its results.json lists: "
            "train it again."
        )
    return model


def load_classifier(folder: Path, *, trust: Trust = (), of_pictures: bool = True) -> EmotionClassifier:
    """Loads the trained classifier of a run, like :func:`load_run`.

    Args:
        folder: run folder.
        trust: packages whose classes the run may use.
        of_pictures: whether the run must classify single pictures.

    Raises:
        InputError: if :func:`load_run` raises it, or the run was trained on another task or on other samples.
    """
    class_names = read_run(folder).class_names  # rejects other tasks before anything is built
    model = load_task(folder, trust=trust, of_pictures=of_pictures)
    if not isinstance(model, EmotionClassifier) or model.class_names != class_names:
        raise InputError(f"the task of {folder} is a {type(model).__name__}: an EmotionClassifier is needed.")
    return model


def stored_config(
    results: dict[str, Any], folder: Path, called: Sequence[str] = NETWORK, *, trust: Trust = ()
) -> DictConfig:
    """Returns the configuration of a run after checking that it refers only to known classes.

    Known classes are those in fervid's yaml files, those in the yaml files of the user's ``--config-dir``, and those
    defined in a package that the user trusts. Nothing is imported before all names have been checked. All other groups
    lose Hydra's keywords: a value of theirs that is passed on, such as ``backbone.image_size``, can call nothing.

    Args:
        results: content of ``results.json`` from :func:`fervid.runs.run.open_run`, which rejects references.
        folder: run folder, for error messages.
        called: groups of the configuration that will be instantiated.
        trust: packages that the user trusts.

    Raises:
        InputError: if these groups refer to other code, or a group is not a mapping.
    """
    packages, trusted = trusted_packages(trust), {}
    for part in MAPPINGS:
        if not isinstance(found := results["config"].get(part, {}), dict):
            raise InputError(
                f"the configuration of {folder} has {part}={found}, which fervid never writes: train it again."
            )
    for part in called:
        imported = IMPORTED.get(part, ("_target_",))
        known = _named(tuple(config_folders()), part, imported)
        for name, value in _values(results["config"].get(part)):
            if name in imported and value not in known:
                if not is_in(value, packages):
                    raise InputError(
                        f"the configuration of {folder} refers to {value}, which is not a class of fervid: if you know "
                        "and trust this code, give trust=<its package>, or --config-dir=<folder with its yaml files>."
                    )
                trusted[value] = part
        for key in _keys(results["config"].get(part)):
            if key.startswith("_") and key not in INSTRUCTIONS:
                raise InputError(f"the configuration of {folder} has {key}, which fervid never writes: train it again.")
    for value, part in trusted.items():
        _check_trusted(value, part, packages, folder)
    groups, data = dict(results["config"]), results["data"]
    if "grayscale" in data and "grayscale" in groups.get("dataset", {}):
        groups["dataset"] = {**groups["dataset"], "grayscale": data["grayscale"]}  # instead of auto
    config = OmegaConf.create(
        {name: group if name in called else _without_keywords(group) for name, group in groups.items()}
    )
    assert isinstance(config, DictConfig)
    return config


def _without_keywords(config: Any) -> Any:
    """Returns a copy of a nested configuration without keys such as ``_target_``, at any depth."""
    if isinstance(config, dict):
        return {key: _without_keywords(value) for key, value in config.items() if not str(key).startswith("_")}
    return [_without_keywords(value) for value in config] if isinstance(config, list) else config


def _check_trusted(path: str, part: str, packages: Sequence[str], folder: Path) -> None:
    """Rejects code that a trusted package only imports, such as ``mypackage.train.os.system``, and its other functions.

    Args:
        path: dotted path of a class, or of a function that splits.
        part: group of the configuration that refers to it.
        packages: packages that the user trusts.
        folder: run folder, for error messages.

    Raises:
        InputError: if the code does not exist, is not defined in one of the packages, or is not a part of a run.
    """
    if any(name.startswith("_") for name in path.split(".")):  # importing mypackage.__main__ would start a program
        raise InputError(f"the configuration of {folder} refers to {path}: names that begin with _ are refused.")
    try:
        found = get_object(path)
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"{path}, to which the configuration of {folder} refers, cannot be imported ({reason(error)}): install its "
            "package, or put its folder on PYTHONPATH."
        ) from error
    origin = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
    if not is_in(origin, packages):
        raise InputError(
            f"the configuration of {folder} refers to {path}, which is not defined in {' or '.join(packages)}: if you "
            "know and trust this code, give trust=<the package that defines it> too."
        )
    is_part = isinstance(found, type) and (
        issubclass(found, BASES) or any(callable(getattr(found, name, None)) for name in METHODS)
    )
    if not is_part and not (part == "split" and isinstance(found, FunctionType)):
        raise InputError(
            f"the configuration of {folder} refers to {path}, which is not a corpus, detector, sample, "
            "network or split: train it again."
        )


@cache
def _named(folders: tuple[str, ...], part: str, settings: tuple[str, ...]) -> frozenset[str]:
    """Returns the values of some settings in all options of a group.

    Classes are compared by their full names, since allowing a prefix would allow everything that a module imports.
    """
    groups = [part, "detector"] if part == "dataset" else [part]  # a dataset contains its detector
    files = [file for folder in folders for group in groups for file in Path(folder, group).glob("*.yaml")]
    options = [OmegaConf.to_container(OmegaConf.load(file)) for file in files]
    return frozenset(value for name, value in _values(options) if name in settings)


def read_manifest(folder: Path) -> pd.DataFrame:
    """Reads the manifest of a run: one row per frame, with its subset.

    Raises:
        InputError: if the file is missing, damaged or not a manifest.
    """
    path = folder / "manifest.parquet"
    try:
        manifest = pd.read_parquet(path)
        absent = {*FRAME_KEY, "subject", "emotion", "split"} - set(manifest)
        if absent:
            raise ValueError(f"it has no column {', '.join(sorted(absent))}")
        return manifest
    except Exception as error:  # arrow raises its own exception classes for damaged files
        raise InputError(
            f"{path} cannot be read ({first_line(error)}): it records what the run was trained on; train it again."
        ) from error


def reopen_corpus(
    folder: Path,
    results: dict[str, Any],
    cache_dir: str | Path,
    root: str | Path | None = None,
    *,
    features_path: str | Path | None = None,
    trust: Trust = (),
) -> EmotionDataModule:
    """Opens the corpus of a run with its split: the faces that the run was trained and tested on.

    Args:
        folder: run folder.
        results: content of the run's ``results.json``.
        cache_dir: folder of cached faces.
        root: current folder of the corpus; None: the folder used by the run.
        features_path: current path of its feature table; None: the path used by the run.
        trust: packages whose classes the run may use.

    Raises:
        InputError: if the corpus is missing, or differs from that of the run.
    """
    stored = stored_config(results, folder, CORPUS, trust=trust)
    if absent := [part for part in ("dataset", "split", "task", "sample") if part not in stored]:
        raise InputError(f"the configuration of {folder} has no {absent[0]}: train it again.")
    # Not needed without training, and it may refer to any class.
    stored.augmentation, stored.sound_augmentation, stored.cache_dir = None, None, str(cache_dir)
    _find_moved(stored.dataset, str(results["choices"].get("dataset")))
    if root is not None:
        if "corpora" in stored.dataset:
            raise InputError(
                f"root={root} is one folder, but {folder} was trained on several corpora: write the roots of those "
                "that were moved in the file of roots (FERVID_ROOTS)."
            )
        if "root" not in stored.dataset:
            raise InputError(f"root={root} cannot be used: {folder} was trained on rendered faces; leave root out.")
        stored.dataset.root = str(root)
    elif unknown := _repos(results["config"]["dataset"]) - _named(tuple(config_folders()), "dataset", ("repo",)):
        raise InputError(
            f"{folder} would download {min(unknown)}, which is not in the yaml files of fervid or of "
            "--config-dir=<folder>: download it yourself and give root=<folder>."
        )
    if features_path is not None:
        if stored.dataset.get("features_path") is None:
            raise InputError(f"features_path={features_path} cannot be used: {folder} was trained without features.")
        stored.dataset.features_path = str(features_path)
    has_people = stored.get("identity") is not None
    stored.identity = None  # the people are read from the manifest: an untrusted run must not choose what is downloaded
    moved = "" if root is not None else "; if the corpus was moved, give root=<folder>"
    if "corpora" in stored.dataset:
        moved = "; if a corpus was moved, write its folder in the file of roots (FERVID_ROOTS)"
    if stored.dataset.get("features_path") is not None and features_path is None:
        moved += f"{' and' if moved else '; if the table was moved, give'} features_path=<path>"
    logger = logging.getLogger("fervid.data")
    level = logger.level
    try:
        datamodule = make_datamodule(stored)
        if not all(source.is_prepared for source in datamodule.sources):
            _forget_prepared_dirs(stored.dataset)  # an untrusted run must not choose where files are written
            datamodule = make_datamodule(stored)
        if has_people:
            clustered = bool(results["leakage"].get("subjects_clustered"))
            datamodule.use_people(read_manifest(folder), subjects_clustered=clustered)
        datamodule.prepare_data()
        logger.setLevel(logging.ERROR)  # the warnings were already given when the run was trained
        datamodule.setup()
    except Exception as error:  # an untrusted configuration may contain anything
        raise InputError(f"the corpus of {folder} cannot be opened: {reason(error)}{moved}.") from error
    finally:
        logger.setLevel(level)
    columns = [*FRAME_KEY, "subject", "emotion", "split"]
    before, now = (table[columns].astype(str) for table in (read_manifest(folder), datamodule.manifest))
    if not before.equals(now):
        rows = before.merge(now, how="outer", indicator=True)["_merge"]
        raise InputError(
            f"the corpus of {folder} has changed: of its {len(before)} frames {(rows == 'left_only').sum()} are "
            f"missing or have another emotion, subject or subset, and {(rows == 'right_only').sum()} are new{moved}."
        )
    check_features(results, datamodule, folder)
    return datamodule


def _find_moved(dataset: DictConfig, option: str) -> None:
    """Replaces roots that no longer exist by those in the user's file of roots."""
    roots = read_roots()
    for name, settings in _corpora(dataset, option).items():
        root = settings.get("root")
        if root is not None and name in roots and not Path(str(root)).expanduser().exists():
            settings.root = roots[name]


def _forget_prepared_dirs(node: Any) -> None:
    """Removes the setting ``prepared_dir`` at any depth."""
    if isinstance(node, DictConfig):
        node.pop("prepared_dir", None)
    for part in list(node.values()) if isinstance(node, DictConfig) else node if isinstance(node, ListConfig) else ():
        _forget_prepared_dirs(part)


def _corpora(dataset: DictConfig, option: str = "") -> dict[str, DictConfig]:
    """Returns the settings of each corpus by its name; those of a single corpus by the given name."""
    several = dataset.get("corpora")
    if not isinstance(several, DictConfig):
        return {option: dataset}
    return {str(name): settings for name, settings in several.items() if isinstance(settings, DictConfig)}


def check_features(results: dict[str, Any], datamodule: EmotionDataModule, folder: Path) -> None:
    """Checks that the feature table of a corpus has the columns that a run was trained on, in their order.

    Args:
        results: content of the run's ``results.json``.
        datamodule: the corpus.
        folder: run folder, for the message.

    Raises:
        InputError: if the columns differ.
    """
    if "features" not in datamodule.sample.modalities:
        return
    trained, found = list(results["data"].get("features") or []), datamodule.feature_names
    if trained == found:
        return
    missing, new = [name for name in trained if name not in found], [name for name in found if name not in trained]
    differ = "in another order"
    if missing or new:
        differ = f"{listed(missing)} missing" if missing else f"{listed(new)} new"
    raise InputError(
        f"{folder} was trained on {len(trained)} features, and the table has {len(found)} ({differ}): give the same "
        "columns in the same order, if need be with dataset.feature_columns=[...]."
    )


def _keys(config: Any) -> Iterator[str]:
    """Yields all keys of a nested configuration, at any depth."""
    if isinstance(config, dict):
        yield from map(str, config)
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _keys(value)


def _values(config: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the names and values of a nested configuration, at any depth."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _values(value, str(key))
    elif isinstance(config, list):
        for value in config:
            yield from _values(value, name)
    else:
        yield name, config


def _repos(dataset: dict[str, Any]) -> set[str]:
    """Returns the hub repositories that opening a corpus would download; empty if the corpus is in a folder."""
    if dataset.get("root") is not None:
        return set()
    return {str(value) for name, value in _values(dataset) if name == "repo"}
